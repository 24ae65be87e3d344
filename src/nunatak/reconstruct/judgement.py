"""Is there a structure, for recipes that find poses by other ways than the default's starts.

As in nunatak.reconstruct.orient: a map of the images that were learnt from, at the poses that they have got,
must explain images that nothing has learnt from better than its own spherical average does.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from nunatak.reconstruct.consensus import ConsensusState
from nunatak.reconstruct.model import Model, maximize, without_latents
from nunatak.reconstruct.orient import is_structure, start_radius, structure_gain
from nunatak.reconstruct.refit import found_maps_pass
from nunatak.reconstruct.starts import learning_rows
from nunatak.reconstruct.state import Context, Outcome, RunState
from nunatak.volumes.maps import change_box
from nunatak.volumes.wiener import empty_sums


def learnt_map(model: Model, context: Context) -> Model:
    """One map of the images that were learnt from, at their poses, to the radius of the global search."""
    learning = torch.zeros(len(context.cache), dtype=torch.bool, device=context.device)
    learning[learning_rows(context)] = True
    bare = replace(without_latents(model), sound=learning)
    radius = min(start_radius(context) + 2, context.limit_px)
    return maximize(bare, context.cache, radius, context.mask_fraction, True)


def as_start(model: Model, context: Context) -> ConsensusState:
    """A map as the global search takes one, at its last radius."""
    maps = change_box(model.maps[:, 0], context.polar.box_px)
    spread = float(model.candidates.shifts_px.std()) + 0.5 * context.consensus.shift_step_px
    ones = torch.ones(start_radius(context) + 1, device=context.device)
    sums = empty_sums(start_radius(context), 1, device=context.device)
    return ConsensusState(maps, sums, context.consensus.march_updates, spread, 0.0, ones)


def judge_pass(state: RunState, context: Context) -> RunState:
    """Say that there is no structure where held-out images do not know the map from a ball."""
    made = learnt_map(state.oriented, context)
    gain, error = structure_gain(as_start(made, context), context)
    record = {"structure_gain": gain, "structure_gain_error": error}
    if is_structure(gain, error):
        return replace(state, history=(*state.history, record))
    found = found_maps_pass(state, context)
    return replace(found, history=(*state.history, record), outcome=Outcome.NO_STRUCTURE)

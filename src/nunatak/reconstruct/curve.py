"""From a plane of components to a curved landscape: maps that follow large motions.

The linear model's latents say where particles lie; smooth functions of them are what the last maps are
components of (nunatak.latent.landscape; theory eq. 18; docs/decisions/0016).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nunatak.latent.landscape import landscape_of
from nunatak.reconstruct.memory import functions_that_fit
from nunatak.reconstruct.passes import LANDSCAPE, finish_radius, last_maps
from nunatak.reconstruct.state import Context, RunState


def curve_pass(state: RunState, context: Context) -> RunState:
    """Maps as components of smooth functions of the latent, of all particles and of the half-sets."""
    model, config = state.oriented, context.config
    radius = finish_radius(model, context)
    most = functions_that_fit(config.landscape_functions, radius, model.latent_dim)
    found = landscape_of(model.posterior, most, context.generator(41)) if most else None
    landscape = context.cache.share.agreed(found)
    record: dict[str, Any] = {"radius_px": radius, "functions": 0}
    if landscape is None:
        return replace(state, history=(*state.history, record))
    values = landscape.functions(model.candidates.latents)
    count = record["functions"] = values.shape[1]
    curved = replace(
        model,
        maps=model.maps.new_zeros(1, 1 + count, 1, 1, 1),
        candidates=replace(model.candidates, latents=values),
        covariances=values.new_zeros(len(values), count, count),
    )
    whole, halves = last_maps(curved, context, radius)
    kept = {"landscape": landscape, "maps": whole.maps[0], "halves": halves.maps}
    return replace(state, kept={**state.kept, LANDSCAPE: kept}, history=(*state.history, record))

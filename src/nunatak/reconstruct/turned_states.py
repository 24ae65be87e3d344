"""States that are one state turned: a molecule that nearly repeats itself, in which particles got stuck.

A trimer with one arm up looks nearly alike from three sides. Its particles lie in whichever of the three
frames their start was nearest to, each explained by a state of its own, and no local search leads from one to
another: three states are counted where there is one. The mean says by which turns the molecule nearly repeats
itself; a group whose images another group's map, turned so, explains as well as their own is that group
(theory eq. 23, docs/decisions/0025).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nunatak.core.collective import Share
from nunatak.projection.gridding import block_from_maps
from nunatak.reconstruct.group_dimensions import MOST_GROUPS, apart
from nunatak.reconstruct.memory import LEAST_IN_A_GROUP
from nunatak.reconstruct.model import (
    Model,
    SearchPlan,
    full_correlation,
    images_within,
    maximize,
    search_from,
    without_latents,
)
from nunatak.reconstruct.molecules import likeliest_groups
from nunatak.reconstruct.orient import local_prior, start_radius
from nunatak.reconstruct.pseudosymmetry import mates, turned
from nunatak.reconstruct.state import Context, RunState
from nunatak.search.candidates import Candidates
from nunatak.search.local import LocalSearch
from nunatak.volumes.alignment import Motion, move_maps, whitened
from nunatak.volumes.maps import change_box, working_box

TURNED = "turned states"
"""Name under which a state keeps how many groups of particles were brought into the frame of another."""
LEAST_REPEAT = 0.3
"""Correlation of the whitened mean with itself, turned; of a spike 0.63, of the 50S 0.20."""
BETTER_NATS = 1.0
"""By which a group's images must be explained better when they are turned than as they lie."""
_STEPS = 4


@dataclass(frozen=True)
class Merger:
    """A group that is another one turned.

    Attributes
    ----------
    motion : Motion
        One, in voxels of the model's maps: poses so turned see the other group's map.
    gain_nats : float
        By which the other's map, so turned, explains the group's images better than their own does.
    """

    motion: Motion
    gain_nats: float


def turn_pass(state: RunState, context: Context) -> RunState:
    """Bring groups that are others turned into the frame of these; latents are then to be found anew."""
    model = state.oriented
    radius = max(4, min(start_radius(context), model.radius_px))
    motions, repeat = repeats(model, radius, context.cache.share)
    groups, turned_images, gains = _groups(model, context) if len(motions.rotations) > 1 else [], 0, []
    settled: list[Tensor] = []
    for done, members in enumerate(groups):
        found = _merger(model, members, settled, motions, (radius, context))
        if found is None:
            settled.append(members)
        else:
            model = _turned(model, members, found.motion, context)
            turned_images += int(members.sum())
            gains.append(round(found.gain_nats, 2))
        context.progress((done + 1) / len(groups))
    record = {"radius_px": radius, "repeat": round(repeat, 3), "groups": len(groups), "gains_nats": gains}
    kept = {**state.kept, TURNED: len(gains)}
    history = (*state.history, {**record, "turned": turned_images})
    return replace(state, model=without_latents(model) if gains else model, kept=kept, history=history)


def were_turned(state: RunState) -> bool:
    """Whether groups were brought into another frame."""
    return bool(state.kept.get(TURNED, 0))


def repeats(model: Model, radius_px: int, share: Share) -> tuple[Motion, float]:
    """Motions by which the mean repeats itself well, the identity first, and the best correlation of any."""
    mean = model.maps[:, 0].mean(0)
    found = mates(mean, model.correlation[0], radius_px, share)
    box = working_box(radius_px)
    small = whitened(change_box(mean[None], box), radius_px, full_correlation(model.correlation[0]))
    ratio = box / mean.shape[-1]
    moved = move_maps(
        small.expand(len(found.rotations), -1, -1, -1), Motion(found.rotations, found.shifts_px * ratio)
    )
    scores = share.agreed((moved * small).flatten(1).sum(1) / moved.flatten(1).norm(dim=1))
    good = scores >= LEAST_REPEAT
    good[0] = True
    best = float(scores[1:].max()) if len(scores) > 1 else 0.0
    return Motion(found.rotations[good], found.shifts_px[good]), best


def _groups(model: Model, context: Context) -> list[Tensor]:
    """Sets of particles, (n,) bool, whose latents lie apart, the largest first; none where they are few."""
    if len(context.cache) < 2 * LEAST_IN_A_GROUP:
        return []
    shares = likeliest_groups(model.candidates.latents, MOST_GROUPS, context.config.seed)
    found = [members & context.sound for members in apart(context.cache.share.agreed(shares))]
    large = [members for members in found if int(members.sum()) >= LEAST_IN_A_GROUP]
    return sorted(large, key=lambda members: -int(members.sum()))


def _merger(
    model: Model, members: Tensor, others: list[Tensor], motions: Motion, at: tuple[int, Context]
) -> Merger | None:
    """The larger group that a group is, turned; None where its images know a state of their own."""
    if not others:
        return None
    still = Motion(motions.rotations[:1], motions.shifts_px[:1])
    own = float(_explained(model, members, members, still, at, joined=False)[0])
    best = None
    for other in others:
        evidence = _explained(model, members, other, motions, at, joined=True)
        number = int(evidence[1:].argmax()) + 1
        gain, better = float(evidence[number]) - own, float(evidence[number] - evidence[0])
        if gain >= 0 and better > BETTER_NATS and (best is None or gain > best.gain_nats):
            here = slice(number, number + 1)
            best = Merger(Motion(motions.rotations[here], motions.shifts_px[here]), gain)
    return best


def _explained(
    model: Model,
    members: Tensor,
    learning: Tensor,
    motions: Motion,
    at: tuple[int, Context],
    joined: bool,
) -> Tensor:
    """(m,) mean log evidence of a group's images in each motion, with the map of those that are learnt from.

    Parameters
    ----------
    members, learning : (n,) bool
    joined : bool
        One map of all that are learnt from; false: of each half-set, for the images of the other.
    """
    radius, context = at
    plain = replace(without_latents(model), sound=learning)
    made = maximize(plain, context.cache, radius, context.mask_fraction, joined)
    plan = SearchPlan(
        radius, torch.zeros(1, 3, device=context.device), _STEPS, local_prior(context, 3.0, latent=False)
    )
    total = motions.shifts_px.new_zeros(len(motions.rotations))
    for half, maps in enumerate(made.maps):
        asked = members if joined else members & (model.halves != half)
        block = block_from_maps(maps, max(radius, 2))
        total += _sum_of_evidence(made, block, asked, motions, (plan, context))
    return context.cache.share.total(total) / int(members.sum())


def _sum_of_evidence(
    model: Model, block: Tensor, asked: Tensor, motions: Motion, by: tuple[SearchPlan, Context]
) -> Tensor:
    """(m,) log evidence of the images asked for that are held here, from their poses in each motion."""
    plan, context = by
    cache, count = context.cache, len(motions.rotations)
    total = motions.shifts_px.new_zeros(count)
    for rows in cache.share.tiles(torch.nonzero(asked).flatten(), max(64, cache.tiles.local // count)):
        start = _in_each(model.candidates[rows], motions, model, context)
        search = LocalSearch(
            block, images_within(cache, rows, plan.radius_px), 2 / model.noise_variance, plan.prior
        )
        total += search_from(search, start, plan).log_evidence.view(count, -1).sum(1)
    return total


def _in_each(own: Candidates, motions: Motion, model: Model, context: Context) -> Candidates:
    ratio = context.cache.plane.box_px / model.maps.shape[-1]
    everyone = torch.zeros(len(own), dtype=torch.long, device=own.rotations.device)
    return turned(own, {0: motions}, everyone, ratio)[0]


def _turned(model: Model, members: Tensor, motion: Motion, context: Context) -> Model:
    """The model with the poses of some particles after a motion."""
    rows = torch.nonzero(members).flatten()
    own = model.candidates
    found = _in_each(own[rows], motion, model, context)
    rotations, shifts = own.rotations.clone(), own.shifts_px.clone()
    rotations[rows], shifts[rows] = found.rotations, found.shifts_px
    return replace(model, candidates=replace(own, rotations=rotations, shifts_px=shifts))

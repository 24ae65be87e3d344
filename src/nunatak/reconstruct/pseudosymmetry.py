"""Orientations that look alike: molecules of two or three similar parts, which a coarse map takes for equal.

Images of such a molecule go to either of the orientations, and their mean has a symmetry that the molecule
has not: no local search leaves it. The map says itself by which rotations it nearly repeats. Each image's
present pose and those turned so are refined side by side on a map of other images, evidence decides, and the
map is made again: what distinguishes the parts grows from pass to pass, where the images know it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nunatak.core.collective import Group
from nunatak.core.gathered import Gathered
from nunatak.geometry.rotations import geodesic_deg
from nunatak.geometry.so3_grid import rotation_grid
from nunatak.projection.gridding import block_from_maps
from nunatak.reconstruct.model import (
    Model,
    SearchPlan,
    full_correlation,
    images_within,
    maximize,
    search_from,
)
from nunatak.reconstruct.orient import local_prior, start_radius
from nunatak.reconstruct.passes import CLASSES
from nunatak.reconstruct.second_look import best_of_rows
from nunatak.reconstruct.state import Context, RunState
from nunatak.search.candidates import Candidates, concatenated
from nunatak.search.local import LocalSearch
from nunatak.volumes.alignment import Motion, match, matches, no_motion, whitened
from nunatak.volumes.maps import change_box, working_box

MATES = 3
"""Orientations that are tried beside the present one."""
APART_DEG = 30.0
"""Between them, and from the present one: nearer ones are the local search's."""
ALIKE = "alike"
"""Name under which a state keeps the classes where particles still change over."""
_COARSE_RADIUS_PX = 12
_STEPS_DEG = (7.5, 3.75, 1.9)
# Steps of the local search: an image's two orientations may be ten degrees from exactly alike.
_STEPS = 4
# Beyond the radius of the starts, where the parts looked alike.
_FINER_PX = 4
_LEAST_CHANGED = 0.01


def mates(volume: Tensor, correlation: Tensor, radius_px: int, group: Group) -> Motion:
    """The motions by which a map repeats itself best, the identity first, in voxels of the map.

    Parameters
    ----------
    volume : (d, d, d) float32
    correlation : (shells,)
        How far each shell is to be trusted.
    radius_px : int
        Of the map.
    """
    radius = min(_COARSE_RADIUS_PX, radius_px)
    small = whitened(change_box(volume[None], working_box(radius)), radius, full_correlation(correlation))[0]
    rotations = rotation_grid(2).rotations().to(small)
    scores = group.agreed(matches(small, small, rotations, group)[0])
    angles = geodesic_deg(rotations, torch.eye(3).to(small)[None])
    left = angles > APART_DEG
    found = [no_motion(1, small)]
    for _ in range(MATES):
        if not bool(left.any()):
            break
        best = int(torch.where(left, scores, -torch.inf).argmax())
        found.append(match(small, small, rotations[best : best + 1], _STEPS_DEG, group)[0])
        left &= geodesic_deg(rotations, rotations[best]) > APART_DEG
    ratio = volume.shape[-1] / small.shape[-1]
    shifts = torch.cat([motion.shifts_px for motion in found]) * ratio
    return Motion(torch.cat([motion.rotations for motion in found]), shifts)


def turned(
    own: Candidates, motions: dict[int, Motion], labels: Tensor, box_ratio: float
) -> tuple[Candidates, Tensor]:
    """Every candidate as its class' motions show it, and (e,) which of them is it as it was.

    V(Q x + s) looks like V(x), so that R Q and t - (R s)_xy are poses like R and t (conventions 2, 3).
    """
    parts, ranks = [], []
    for label, motion in motions.items():
        image = torch.nonzero(labels == label).flatten()
        for rank, (turn, shift) in enumerate(
            zip(motion.rotations, motion.shifts_px * box_ratio, strict=True)
        ):
            start = own[image]
            offset = (start.rotations @ shift)[:, :2]
            shifts = start.shifts_px - offset
            parts.append(replace(start, rotations=start.rotations @ turn, shifts_px=shifts, rows=image))
            ranks.append(torch.full_like(image, rank))
    return concatenated(parts), torch.cat(ranks) == 0


def pseudosymmetry_pass(state: RunState, context: Context) -> RunState:
    """Tell apart orientations that look alike, in the classes where any particle still changes over."""
    labels, radius = state.kept[CLASSES], min(start_radius(context) + _FINER_PX, context.limit_px)
    model = maximize(state.oriented, context.cache, radius, context.mask_fraction, False)
    classes = state.kept[ALIKE] if state.passes else tuple(labels.unique().tolist())
    mean = model.maps.mean(0)
    motions = {}
    for k in classes:
        latent = model.candidates.latents[labels == k][0]
        volume = mean[0] + torch.einsum("j,jzyx->zyx", latent, mean[1:])
        motions[k] = mates(volume, model.correlation[0], radius, context.cache.share)
    stay = torch.zeros(1, 3, device=context.device)
    plan = SearchPlan(radius, stay, _STEPS, local_prior(context, 3.0, latent=False))
    model, changed = unlike(model, labels, motions, context, plan)
    shares = [float(changed[labels == k].float().mean()) for k in classes]
    left = tuple(k for k, share in zip(classes, shares, strict=True) if share >= _LEAST_CHANGED)
    record = {"classes": len(classes), "changed": float(changed.float().mean()), "radius_px": radius}
    kept = {**state.kept, ALIKE: left}
    return replace(state, model=model, kept=kept, history=(*state.history, record))


def told_apart(state: RunState) -> bool:
    """Whether hardly a particle changes over any more."""
    return not state.kept[ALIKE]


def unlike(
    model: Model, labels: Tensor, motions: dict[int, Motion], context: Context, plan: SearchPlan
) -> tuple[Model, Tensor]:
    """Poses chosen among those that look alike, and (n,) bool: the particles that changed over.

    Parameters
    ----------
    model : Model
        With a map for each half-set; latents are held by the plan.
    labels : (n,) int64
        Class of each particle.
    motions : dict of Motion
        Those of some classes, the identity first, in voxels of the model's maps; others stay as they are.
    """
    cache, share = context.cache, context.cache.share
    weights, ratio = 2 / model.noise_variance, cache.plane.box_px / model.maps.shape[-1]
    asked = torch.isin(labels, torch.tensor(list(motions), device=labels.device))
    before, here = model.candidates, share.mine(torch.arange(len(labels), device=labels.device))
    old = before.rotations, before.shifts_px, before.scales, model.log_evidence, torch.zeros_like(asked)
    gathered, done = Gathered(len(here)), 0
    gathered.put(share.local(here), *(column[here] for column in old))
    at_once = max(64, cache.tiles.local // (1 + MATES))
    for half in (0, 1):
        # The other half's map: its own holds every image as it lies, and would leave it there.
        block = block_from_maps(model.maps[1 - half], max(plan.radius_px, 2))
        for rows in share.tiles(torch.nonzero(asked & (model.halves == half)).flatten(), at_once):
            start, present = turned(model.candidates[rows], motions, labels[rows], ratio)
            search = LocalSearch(block, images_within(cache, rows, plan.radius_px), weights, plan.prior)
            fit = search_from(search, start, plan)
            best = best_of_rows(fit.log_evidence, fit.candidates.rows, len(rows))
            found, moved = fit.candidates[best], ~present[best]
            at = found.rotations, found.shifts_px, found.scales, fit.log_evidence[best], moved
            gathered.put(share.local(rows), *at)
            done += len(rows)
            context.progress(done * share.size / len(labels))
    new = share.joined(gathered.columns())
    candidates = replace(before, rotations=new[0], shifts_px=new[1], scales=new[2])
    return replace(model, candidates=candidates, log_evidence=new[3]), new[4]

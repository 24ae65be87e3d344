"""One frame for all states: the one in which the largest part of the molecule stands still.

Poses and latents trade rigid motion freely, and the likelihood prefers a frame in which all parts share the
motion, because a linear model then has less to explain. States far apart share one rigid part visibly,
though: their whitened maps correlate best where that part coincides. From such a pair the part is read off,
and every other state is matched to it alone (docs/decisions/0008).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from nunatak.core.collective import ALONE, Group
from nunatak.geometry.rotations import geodesic_deg
from nunatak.geometry.so3_grid import rotation_grid
from nunatak.reconstruct.frame_fit import smooth_motion, still_motion
from nunatak.reconstruct.memory import LEAST_IN_A_GROUP
from nunatak.reconstruct.model import (
    Model,
    full_correlation,
    particle_sums,
    smooth_correlation,
    without_latents,
)
from nunatak.reconstruct.orient import start_radius
from nunatak.reconstruct.solving import correlation_ridge
from nunatak.reconstruct.state import Context, RunState
from nunatak.volumes.alignment import (
    Motion,
    match,
    move_maps,
    no_motion,
    still_fraction,
    still_parts,
    whitened,
)
from nunatak.volumes.fsc import shell_correlation
from nunatak.volumes.maps import change_box, soft_sphere, working_box
from nunatak.volumes.wiener import solve_maps

# Frames of states are no further apart than this; a search over all rotations would find symmetries too.
_WIDEST_DEG = 70.0
# A frame is changed where it lets so much more of the molecule stand still, and turns by so much.
_LEAST_GAIN, _LEAST_TURN_DEG = 0.05, 8.0
_PAIRS = 3
# Another coordinate is followed than the rank along the first latent where frames lie so much nearer to it.
_CLEARLY = 0.8
_BOX_FOR_TURNS = 1.2


@dataclass(frozen=True)
class States:
    """Particles grouped by latent.

    Attributes
    ----------
    maps : (k, d, d, d) float32
        One map per group, on a working box.
    correlation : (shells,) float32
        Mean FSC of their half-sets.
    shares : (k,) float32
        Part of the particles in each.
    memberships : (n, k) float32
        Of every particle, soft, each row of sum 1.
    centres : (k, q) float32
        Mean latent of each, scaled by how much the components change the map.
    """

    maps: Tensor
    correlation: Tensor
    shares: Tensor
    memberships: Tensor
    centres: Tensor


def _state_map(model: Model, context: Context, rows: Tensor, radius_px: int) -> tuple[Tensor, Tensor]:
    """Map of some particles and the FSC of its half-sets."""
    first, second = (
        particle_sums(model, context.cache, radius_px, rows[model.halves[rows] == half]) for half in (0, 1)
    )
    box = working_box(radius_px)
    mask = soft_sphere(box, context.mask_fraction * box, 2.0).to(context.device)
    weak = first.denominator.new_full((1, radius_px + 2), 0.5)
    halves = [solve_maps(s, correlation_ridge(s, weak), radius_px, box) * mask for s in (first, second)]
    correlation = smooth_correlation(shell_correlation(halves[0], halves[1]))
    total = first + second
    ridge = correlation_ridge(total, full_correlation(correlation))
    return solve_maps(total, ridge, radius_px, box)[0] * mask, correlation[0]


def group_states(model: Model, context: Context, radius_px: int, most: int = 32) -> States | None:
    """Groups of particles near each other in the latent space, measured by how much their maps differ.

    None where there are not two groups large enough for maps of their own.
    """
    power = model.maps.mean(0)[1:].flatten(1).norm(dim=1)
    scaled = model.candidates.latents * power
    # Junk lies in places of its own, and groups of it have no map.
    sound = torch.arange(len(scaled), device=scaled.device)
    if model.sound is not None:
        sound = sound[model.sound]
    positions = scaled[sound].cpu().numpy()
    count = min(most, len(positions) // LEAST_IN_A_GROUP, len(np.unique(positions, axis=0)))
    if count < 2:
        return None
    fitted = KMeans(count, n_init=4, random_state=context.config.seed).fit(positions)
    labels = context.cache.share.agreed(torch.from_numpy(fitted.labels_).long().to(context.device))
    sizes = torch.bincount(labels, minlength=count)
    groups = torch.nonzero(sizes >= LEAST_IN_A_GROUP // 5).flatten()
    if len(groups) < 2:
        return None
    members = [sound[labels == group] for group in groups]
    centres = torch.stack([scaled[rows].mean(0) for rows in members])
    plain = without_latents(model)
    pairs = [_state_map(plain, context, rows, radius_px) for rows in members]
    apart = torch.cdist(centres, centres).fill_diagonal_(float("inf"))
    width = (0.5 * apart.amin(1).median()).clamp(min=1e-6)
    memberships = torch.softmax(-0.5 * torch.cdist(scaled, centres) ** 2 / width**2, 1)
    maps, correlation = torch.stack([m for m, _ in pairs]), torch.stack([f for _, f in pairs]).mean(0)
    return States(maps, correlation, sizes[groups] / sizes[groups].sum(), memberships, centres)


def _wide_rotations(like: Tensor) -> Tensor:
    """Rotations of the 15-degree grid up to the widest, the identity first."""
    grid = rotation_grid(2).rotations().to(like)
    identity = torch.eye(3).to(like)[None]
    return torch.cat([identity, grid[geodesic_deg(grid, identity) < _WIDEST_DEG]])


def _seed_pair(
    maps: Tensor, shares: Tensor, rotations: Tensor, group: Group
) -> tuple[int, int, Motion] | None:
    """Two states far apart and the motion of the second that lets most stand still; None where none helps."""
    apart = 1 - maps.flatten(1) @ maps.flatten(1).T
    weight = torch.minimum(shares[:, None], shares[None]).clamp(max=0.05)
    order = torch.triu(apart * weight, 1).flatten().argsort(descending=True)[:_PAIRS]
    best, gain = None, _LEAST_GAIN
    # Which pairs are tried, and which is taken, must not drift apart among the processes.
    for place in group.agreed(order).tolist():
        first, second = divmod(place, len(maps))
        motion, _ = match(maps[first], maps[second], rotations, (7.5, 3.75, 1.9, 1.0), group)
        moved = move_maps(maps[second : second + 1], motion)
        now = still_fraction(torch.stack([maps[first], moved[0]])) - still_fraction(maps[[first, second]])
        turned = float(geodesic_deg(motion.rotations, torch.eye(3).to(maps)[None]))
        now, turned = group.agreed((now, turned))
        if now > gain and turned > _LEAST_TURN_DEG:
            best, gain = (first, second, motion), now
    return best


def still_frames(states: States, radius_px: int, group: Group = ALONE) -> Motion | None:
    """The motion of each state's map into one frame; None where the states share a frame already."""
    coarse_px = max(4, round(0.8 * radius_px))
    coarse, fine = (
        whitened(change_box(states.maps, working_box(radius)), radius, full_correlation(states.correlation))
        for radius in (coarse_px, radius_px)
    )
    rotations = _wide_rotations(coarse)
    seed = _seed_pair(coarse, states.shares, rotations, group)
    if seed is None:
        return None
    first, second, motion = seed
    found = no_motion(len(coarse), coarse)
    found.rotations[second], found.shifts_px[second] = motion.rotations[0], motion.shifts_px[0]
    found = _matched_to_still(coarse, states.shares, found, [first, second], (rotations, group))
    ratio = fine.shape[-1] / coarse.shape[-1]
    found = Motion(found.rotations, found.shifts_px * ratio)
    everyone = list(range(len(fine)))
    for _ in range(2):
        found = _matched_to_still(fine, states.shares, found, everyone, (None, group))
    return Motion(found.rotations, found.shifts_px * (states.maps.shape[-1] / fine.shape[-1]))


def steady_motion(states: States, motion: Motion, radius_px: int, group: Group = ALONE) -> Motion:
    """The motion of states into one frame, at a constant rate along the one coordinate that frames follow.

    With more latents, or bent functions of one, the ends follow what they are free to and end further off.
    """
    along = followed_coordinate(states, motion)
    motion = smooth_motion(along, states.shares, motion)
    # Trilinear interpolation takes much from the finest that a tight box holds, and so from every turn.
    box = working_box(round(_BOX_FOR_TURNS * radius_px))
    maps = whitened(change_box(states.maps, box), radius_px, full_correlation(states.correlation))
    ratio = box / states.maps.shape[-1]
    start = Motion(motion.rotations, motion.shifts_px * ratio)
    found = still_motion(maps, along, states.shares, start, group)
    return Motion(found.rotations, found.shifts_px / ratio)


def followed_coordinate(states: States, motion: Motion) -> Tensor:
    """(k, 1) the coordinate of groups along which their frames turn at the most constant rate.

    That is the rank along the first latent, which changes the map most, and of an evenly occupied swing
    nearly its angle; or the rank along another latent, or the value of one, where frames, group by group, lie
    clearly nearer to a constant rate along it: what changes the map most need not move anything, and states
    need not be evenly occupied.
    """
    by_rank = [ranks(values, states.shares) for values in states.centres.T]
    every = [tried[:, None] for tried in (*by_rank, *states.centres.T)]
    off = []
    for along in every:
        fitted = smooth_motion(along, states.shares, motion)
        apart = geodesic_deg(fitted.rotations, motion.rotations)
        off.append(float((states.shares * apart).sum() / states.shares.sum()))
    best = min(range(len(off)), key=off.__getitem__)
    return every[best if off[best] < _CLEARLY * off[0] else 0]


def ranks(values: Tensor, shares: Tensor) -> Tensor:
    """(k,) part of the particles in groups of lower value, and half of those in the group itself."""
    order = values.argsort()
    below = torch.empty_like(shares)
    below[order] = shares[order].cumsum(0) - 0.5 * shares[order]
    return below


def _matched_to_still(
    maps: Tensor, shares: Tensor, motion: Motion, members: list[int], tried: tuple[Tensor | None, Group]
) -> Motion:
    """Every state matched to the still parts of some; over given rotations, or near where it is.

    The processes of a group share out the states.
    """
    rotations, group = tried
    moved = move_maps(maps[members], Motion(motion.rotations[members], motion.shifts_px[members]))
    mean = torch.einsum("k,kzyx->zyx", shares[members] / shares[members].sum(), moved)
    target = still_parts(moved) * mean
    turned, shifted, share = motion.rotations.clone(), motion.shifts_px.clone(), group.share_of(len(maps))
    for state in range(*share.bounds):
        if state == members[0] or (rotations is not None and state in members):
            continue
        own = motion.rotations[state : state + 1] if rotations is None else rotations
        steps = (4.0, 2.0, 1.0) if rotations is None else (7.5, 3.75, 1.9, 1.0)
        best, _ = match(target, maps[state], own, steps)
        turned[state], shifted[state] = best.rotations[0], best.shifts_px[0]
    mine = slice(*share.bounds)
    return share.joined(Motion(turned[mine], shifted[mine]))


def reframed(model: Model, memberships: Tensor, motion: Motion, box_ratio: float) -> Model:
    """Poses in the common frame: each particle's motion is the mean of its states', by membership.

    V'(x) = V(Q x + s) seen at R' = R Q and t' = t - (R s)_xy is V seen at R and t (conventions 2, 3).

    Parameters
    ----------
    box_ratio : float
        Pixels of the particles' box per voxel of the maps that the motion was found on.
    """
    blend = torch.einsum("nk,kij->nij", memberships, motion.rotations)
    left, _, right = torch.linalg.svd(blend)
    sign = torch.linalg.det(left @ right)
    left = torch.cat([left[..., :2], left[..., 2:] * sign[:, None, None]], -1)
    rotations = left @ right
    shifts = (memberships @ motion.shifts_px) * box_ratio
    own = model.candidates
    offset = (own.rotations @ shifts[..., None])[:, :2, 0]
    moved = replace(own, rotations=own.rotations @ rotations, shifts_px=own.shifts_px - offset)
    return replace(model, candidates=moved)


def frame_pass(state: RunState, context: Context) -> RunState:
    """Bring all states into the frame in which the largest part of the molecule stands still."""
    model = state.oriented
    radius = max(4, min(start_radius(context), model.radius_px))
    states, group = group_states(model, context, radius), context.cache.share
    motion = None if states is None else still_frames(states, radius, group)
    if states is not None and motion is not None and len(states.maps) >= 2 * (1 + model.latent_dim):
        motion = group.agreed(steady_motion(states, motion, radius, group))
    record = {"radius_px": radius, "frame_turn_deg": 0.0}
    if states is not None and motion is not None:
        widest = geodesic_deg(motion.rotations[:, None], motion.rotations[None]).max()
        record["frame_turn_deg"] = float(widest)
        ratio = context.cache.plane.box_px / states.maps.shape[-1]
        model = reframed(model, states.memberships, motion, ratio)
    return replace(state, model=model, history=(*state.history, record))

"""Rigid motions of maps: applying them, finding them by correlation, and where moved maps agree.

A motion is V'(x) = V(Q x + s), x in voxels from the origin at d // 2. Maps are compared after whitening: with
all frequencies at equal power, the correlation of two states of a molecule has a separate peak for each rigid
part that they share, where the raw one has a single broad hill between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, grid_sample

from nunatak.core.collective import ALONE, Group
from nunatak.core.device import is_compiled
from nunatak.core.fourier import fourier_map, real_map
from nunatak.geometry.rotations import rotation_from_vector
from nunatak.geometry.so3_grid import tangent_offsets
from nunatak.volumes import alignment_kernels
from nunatak.volumes.maps import radius_grid

VOXELS_AT_ONCE = 1_500_000
"""Of all rotations that are moved and transformed at a time: some seventy bytes of each are held."""
# Local agreement at which a place begins to count as still, and over which it counts fully.
_STILL_FROM, _STILL_OVER = 0.35, 0.35


@dataclass(frozen=True)
class Motion:
    """V'(x) = V(Q x + s) for k maps.

    Attributes
    ----------
    rotations : (k, 3, 3) float32
        Q, on (x, y, z).
    shifts_px : (k, 3) float32
        s, in voxels of the maps' box.
    """

    rotations: Tensor
    shifts_px: Tensor


def no_motion(count: int, like: Tensor) -> Motion:
    """The identity, `count` times."""
    return Motion(torch.eye(3).to(like).repeat(count, 1, 1), like.new_zeros(count, 3))


def move_maps(maps: Tensor, motion: Motion, planes: slice = slice(None)) -> Tensor:
    """(k, d, d, d) maps after their motions, by trilinear interpolation; zero outside the box.

    Parameters
    ----------
    planes : slice
        Along z, where only some of the planes are wanted.
    """
    box = maps.shape[-1]
    axis = torch.arange(box, device=maps.device, dtype=maps.dtype) - box // 2
    z, y, x = torch.meshgrid(axis[planes], axis, axis, indexing="ij")
    points = (
        torch.stack([x, y, z], -1).view(-1, 3) @ motion.rotations.transpose(1, 2) + motion.shifts_px[:, None]
    )
    grid = (points + box // 2) * (2 / (box - 1)) - 1
    return grid_sample(maps[:, None], grid.view(-1, *z.shape, 3), align_corners=True)[:, 0]


def turned_maps(volume: Tensor, rotations: Tensor) -> Tensor:
    """See reference_turned_maps; compiled on the CPU, where it has no gradient."""
    if is_compiled(volume):
        return alignment_kernels.turned_maps(volume, rotations)
    return reference_turned_maps(volume, rotations)


def reference_turned_maps(volume: Tensor, rotations: Tensor) -> Tensor:
    """(r, d, d, d) V(Q x) of a (d, d, d) map for (r, 3, 3) rotations Q on (x, y, z); zero outside the box."""
    still = rotations.new_zeros(len(rotations), 3)
    return move_maps(volume.expand(len(rotations), -1, -1, -1), Motion(rotations, still))


def whitened(maps: Tensor, radius_px: int, correlation: Tensor) -> Tensor:
    """(k, d, d, d) maps with the same mean power in every shell, damped by an FSC, each of norm 1.

    Parameters
    ----------
    correlation : (shells,)
        How far each shell is to be trusted, 0 to 1.
    """
    transform = fourier_map(maps)
    shells = radius_grid(maps.shape[-1]).round().long().flatten().to(maps.device)
    counts = torch.bincount(shells)
    power = torch.bincount(shells, (transform.abs() ** 2).mean(0).flatten()) / counts
    trust = torch.zeros_like(power)
    known = min(len(correlation), radius_px + 1, len(trust))
    trust[:known] = correlation[:known].clamp(min=0)
    filtered = real_map(transform * (trust * power.clamp(min=1e-30).rsqrt())[shells].view(maps.shape[1:]))
    return filtered / filtered.flatten(1).norm(dim=1).clamp(min=1e-30)[:, None, None, None]


def best_shifts(reference: Tensor, maps: Tensor, reach_px: int) -> tuple[Tensor, Tensor]:
    """Highest correlation of each map with a reference over shifts, and the (k, 3) shift d: map(x - d).

    Parameters
    ----------
    reference : (d, d, d)
    maps : (k, d, d, d)
    reach_px : int
        Largest shift along each axis.
    """
    box, width = maps.shape[-1], 2 * reach_px + 1
    product = torch.fft.rfftn(reference) * torch.fft.rfftn(maps, dim=(1, 2, 3)).conj()
    every = torch.fft.irfftn(product, s=(box,) * 3, dim=(1, 2, 3))
    near = torch.arange(-reach_px, reach_px + 1, device=maps.device) % box
    for axis in (1, 2, 3):
        every = every.index_select(axis, near)
    high, place = every.flatten(1).max(1)
    shift = torch.stack([place % width, place // width % width, place // width**2], 1) - reach_px
    return high / maps.flatten(1).norm(dim=1).clamp(min=1e-30), shift.to(maps.dtype)


def matches(
    reference: Tensor, volume: Tensor, rotations: Tensor, group: Group = ALONE
) -> tuple[Tensor, Tensor]:
    """(r,) correlations of a map with a reference after each rotation, at its best shift d, (r, 3)."""
    reach, share = max(2, volume.shape[-1] // 6), group.share_of(len(rotations))
    scores, shifts = [volume.new_zeros(0)], [volume.new_zeros(0, 3)]
    for part in rotations[slice(*share.bounds)].split(max(1, VOXELS_AT_ONCE // volume.numel())):
        if not len(part):  # fewer rotations than processes
            continue
        score, shift = best_shifts(reference, turned_maps(volume, part), reach)
        scores.append(score)
        shifts.append(shift)
    return share.joined((torch.cat(scores), torch.cat(shifts)))


def _matched(reference: Tensor, volume: Tensor, rotations: Tensor, group: Group) -> tuple[Motion, float]:
    """Of several rotations of a map the one that correlates best with a reference, at its best shift."""
    every, shift = matches(reference, volume, rotations, group)
    best = int(every.argmax())
    rotation = rotations[best : best + 1]
    # turned(x - d) = V(Q x - Q d)
    return Motion(rotation, -(rotation @ shift[best])), float(every[best])


def match(
    reference: Tensor,
    volume: Tensor,
    rotations: Tensor,
    steps_deg: tuple[float, ...],
    group: Group = ALONE,
) -> tuple[Motion, float]:
    """The motion of one map that brings it onto a reference: the best of some rotations, then refined.

    Parameters
    ----------
    reference, volume : (d, d, d)
    rotations : (r, 3, 3)
    steps_deg : tuple of float
        Each refinement tries 19 rotations this far apart around the best so far.
    group : Group
        Processes that have the same maps, and share out the rotations.

    Returns
    -------
    the motion, and its correlation
    """
    motion, score = _matched(reference, volume, rotations, group)
    for step in steps_deg:
        around = rotation_from_vector(tangent_offsets(step)).to(volume) @ motion.rotations
        motion, score = _matched(reference, volume, around, group)
    return motion, score


def still_parts(maps: Tensor) -> Tensor:
    """(d, d, d) 0 to 1: where (k, d, d, d) maps agree, by the mean correlation of all pairs nearby."""
    count = len(maps)
    nearby = lambda values: avg_pool3d(values[None, None], 3, 1, 1)[0, 0]  # noqa: E731
    both, own = nearby(maps.sum(0) ** 2), nearby((maps**2).sum(0))
    agreement = (both - own) / ((count - 1) * own).clamp(min=1e-30)
    return ((agreement - _STILL_FROM) / _STILL_OVER).clamp(0, 1)


def still_fraction(maps: Tensor) -> float:
    """Share of the power of several maps that lies where they agree."""
    power = (maps**2).sum(0)
    return float((still_parts(maps) * power).sum() / power.sum())

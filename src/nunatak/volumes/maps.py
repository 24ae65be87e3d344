"""Real-space maps: soft spherical masks, and change of box by Fourier cropping or padding."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, max_pool3d

from nunatak.core.device import CPU
from nunatak.core.fourier import fourier_map, real_map

_COARSE_RADIUS_PX = 12
SUPPORT_FROM = 0.06
"""Of a mean map's highest density: what one particle in ten has, or where one in ten has its arm."""


@lru_cache(maxsize=16)
def radius_grid(box_px: int, device: torch.device = CPU) -> Tensor:
    """(d, d, d) distance in voxels from the origin at voxel d // 2."""
    axis = torch.arange(box_px, dtype=torch.float32, device=device) - box_px // 2
    return (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None] ** 2).sqrt()


def soft_sphere(box_px: int, radius_px: float, edge_px: float = 3.0, device: torch.device = CPU) -> Tensor:
    """(d, d, d) mask: 1 inside the radius, a raised cosine down to 0 over the edge."""
    outside = ((radius_grid(box_px, device) - radius_px) / edge_px).clamp(0, 1)
    return 0.5 + 0.5 * torch.cos(torch.pi * outside)


def low_passed(maps: Tensor, radius_px: int) -> Tensor:
    """(..., d, d, d) maps without what lies beyond a Fourier radius."""
    return real_map(fourier_map(maps) * (radius_grid(maps.shape[-1], maps.device) <= radius_px))


def density_of_all(maps: Tensor) -> Tensor:
    """(d, d, d) root mean square over all particles of their density, at a resolution of some voxels.

    A part that one particle in a hundred has is a tenth as dense here, and a hundredth in the mean.

    Parameters
    ----------
    maps : (1 + q, d, d, d) float32
        Mean and components of white latents.
    """
    return low_passed(maps, _COARSE_RADIUS_PX).square().sum(0).sqrt()


def molecular_support(density: Tensor, least: float = SUPPORT_FROM) -> Tensor:
    """(d, d, d) 0 to 1: where a molecule is, parts that few particles have and one voxel around it included.

    Parameters
    ----------
    density : (d, d, d) float32
        Of all states, at a resolution of a few voxels.
    least : float
        Density that counts, of the highest.
    """
    inside = (density > least * density.max()).to(density)[None, None]
    return avg_pool3d(max_pool3d(inside, 3, 1, 1), 3, 1, 1)[0, 0]


def change_box(maps: Tensor, box_px: int) -> Tensor:
    """(..., b, b, b) maps on another box of the same physical size, exact up to the smaller Nyquist.

    Projections keep their values in the transforms of convention 4 whatever the box.
    """
    old = maps.shape[-1]
    if old == box_px:
        return maps
    flat = maps.flatten(0, -4) if maps.ndim > 3 else maps[None]
    out = maps.new_empty(len(flat), box_px, box_px, box_px)
    for place, one in zip(out, flat, strict=True):
        place.copy_(_change_one(one, box_px))
    return out.view(*maps.shape[:-3], box_px, box_px, box_px)


def _change_one(volume: Tensor, box_px: int) -> Tensor:
    """One map on another box: transforms of several at a time would take as much memory as all else."""
    old, transform = volume.shape[-1], fourier_map(volume)
    small = min(old, box_px)
    # Symmetric about the zero frequency, so that an even Nyquist plane is not kept one-sided.
    half = (small - 1) // 2
    source = slice(old // 2 - half, old // 2 + half + 1)
    target = slice(box_px // 2 - half, box_px // 2 + half + 1)
    out = transform.new_zeros(box_px, box_px, box_px)
    out[target, target, target] = transform[source, source, source]
    return real_map(out)


def mirrored(maps: Tensor) -> Tensor:
    """(..., d, d, d) maps mirrored through the origin voxel d // 2: the other hand (convention 8)."""
    flipped = maps.flip((-3, -2, -1))
    even = maps.shape[-1] % 2 == 0
    return torch.roll(flipped, (1, 1, 1), (-3, -2, -1)) if even else flipped


def working_box(radius_px: int) -> int:
    """Smallest convenient even box that holds a Fourier radius with room for interpolation."""
    needed = 2 * (radius_px + 2)
    # Sizes whose only prime factors are 2, 3 and 5 transform fast.
    while True:
        rest = needed
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return needed
        needed += 2

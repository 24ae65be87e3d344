"""From maps to blocks and back: padding, the correction for trilinear interpolation, Fourier transforms.

Trilinear interpolation in Fourier space multiplies the map by sinc^2 in real space; dividing by it first
leaves 2.7 % error at a padding of 2 (Jackson et al. 1991 for the principle). The zero frequency of a block is
at (r, r, 0) with r = padding * radius + 1; see nunatak.projection.slices.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from nunatak.core.device import CPU
from nunatak.projection.slices import block_shape


@lru_cache(maxsize=16)
def interpolation_window(box_px: int, padding: int, device: torch.device = CPU) -> Tensor:
    """(box, box, box) sinc^2 window by which trilinear interpolation multiplies a map."""
    x = (torch.arange(box_px, dtype=torch.float64, device=device) - box_px // 2) / (padding * box_px)
    axis = torch.sinc(x) ** 2
    return (axis[:, None, None] * axis[None, :, None] * axis[None, None, :]).float()


def _block_indices(
    radius_px: int, padding: int, padded_px: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """(z, y, x) indices of a block's voxels in an rfft of the padded box; out of range ones wrap."""
    reach = padding * radius_px + 1
    full = torch.arange(-reach, reach + 1, device=device) % padded_px
    return full, full, torch.arange(reach + 1, device=device)


def _phase(padded_px: int, box_px: int, reach: int, device: torch.device) -> Tensor:
    """exp(2 pi i q (box // 2) / padded) for q in -reach..reach: moves the origin to voxel box // 2."""
    q = torch.arange(-reach, reach + 1, device=device, dtype=torch.float64)
    angle = 2 * torch.pi * q * (box_px // 2) / padded_px
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


def block_from_maps(maps: Tensor, radius_px: int, padding: int = 2) -> Tensor:
    """Block of (c, d, d, d) maps for slices inside a radius.

    Returns
    -------
    (2 r + 1, 2 r + 1, r + 1, c) complex64
    """
    box = maps.shape[-1]
    padded = padding * box
    window = interpolation_window(box, padding, maps.device)
    transform = torch.fft.rfftn(maps / window, s=(padded,) * 3, dim=(-3, -2, -1)) / box
    z, y, x = _block_indices(radius_px, padding, padded, maps.device)
    keep = x <= padded // 2
    cut = transform[:, z][:, :, y][:, :, :, x[keep]]
    block = torch.zeros(
        len(maps), *block_shape(radius_px, padding), dtype=torch.complex64, device=maps.device
    )
    block[..., : int(keep.sum())] = cut
    reach = len(x) - 1
    phase = _phase(padded, box, reach, maps.device)
    block *= phase[:, None, None] * phase[None, :, None] * phase[None, None, reach:]
    return block.permute(1, 2, 3, 0).contiguous()


@lru_cache(maxsize=16)
def _centred_waves(box_px: int, radius_px: int, padding: int, device: torch.device = CPU) -> Tensor:
    """(2 reach + 1, box) complex64 exp(-2 pi i q x / padded), x from the origin at box // 2."""
    reach = padding * radius_px + 1
    q = torch.arange(-reach, reach + 1, dtype=torch.float64, device=device)
    x = torch.arange(box_px, dtype=torch.float64, device=device) - box_px // 2
    angle = -2 * torch.pi * q[:, None] * x / (padding * box_px)
    waves = torch.polar(torch.ones_like(angle), angle)
    # The last layer of a block may lie beyond the padded box: block_from_maps leaves it empty as well.
    return (waves * (q.abs() <= padding * box_px // 2)[:, None]).to(torch.complex64)


def block_by_products(maps: Tensor, radius_px: int, padding: int = 2) -> Tensor:
    """The block of block_from_maps as three matrix products, to be differentiated.

    The derivative of a padded transform is a padded transform of complex numbers and copies of it; that of
    a product is a product, and no zeros are transformed.
    """
    box = maps.shape[-1]
    waves = _centred_waves(box, radius_px, padding, maps.device)
    count, half = len(waves), waves[len(waves) // 2 :]
    columns = torch.cat([half.real, half.imag]) / box
    rows = (maps / interpolation_window(box, padding, maps.device)) @ columns.T
    along_x = torch.complex(*rows.split(len(half), -1))
    along_y = (waves @ along_x).permute(1, 2, 3, 0).reshape(box, -1)
    return (waves @ along_y).view(count, count, len(half), len(maps))


def maps_from_block(block: Tensor, box_px: int, padding: int = 2) -> Tensor:
    """(c, d, d, d) maps from a block that trilinear insertion has filled; voxels beyond the block are zero.

    Insertion too multiplies the map by the window, so it is divided out here as well: a round trip through
    block_from_maps gives the map over the window squared. The adjoint of block_from_maps, with respect to the
    whole transform and not its half, is this times padding^3 * box.
    """
    reach = block.shape[2] - 1
    padded = padding * box_px
    # The outermost layer of a block only serves interpolation; inside the padded box it may not exist.
    limit = min(reach, (padded - 1) // 2)
    keep = slice(reach - limit, reach + limit + 1)
    phase = _phase(padded, box_px, reach, block.device).conj()
    turned = block.permute(3, 0, 1, 2) * (
        phase[:, None, None] * phase[None, :, None] * phase[None, None, reach:]
    )
    q = torch.arange(-limit, limit + 1, device=block.device) % padded
    full = torch.zeros(
        block.shape[-1], padded, padded, padded // 2 + 1, dtype=torch.complex64, device=block.device
    )
    rows = torch.zeros(
        block.shape[-1], padded, 2 * limit + 1, limit + 1, dtype=torch.complex64, device=block.device
    )
    rows[:, q] = turned[:, keep, keep, : limit + 1]
    full[:, :, q, : limit + 1] = rows
    real = torch.fft.irfftn(full, s=(padded,) * 3, dim=(-3, -2, -1)) * box_px
    return real[:, :box_px, :box_px, :box_px] / interpolation_window(box_px, padding, block.device)

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
    window = interpolation_window(maps.shape[-1], padding, maps.device)
    shape = block_shape(radius_px, padding)
    block = torch.zeros(*shape, len(maps), dtype=torch.complex64, device=maps.device)
    # One map at a time: what a padded transform takes, and not that for every channel.
    for channel, one in enumerate(maps):
        layers = _padded_transform(one / window, shape[2] - 1, padding)
        block[:, :, : layers.shape[2], channel] = layers
    return block


def _padded_transform(volume: Tensor, reach: int, padding: int) -> Tensor:
    """The transform of a padded (d, d, d) map within reach of the zero frequency; half of it along x.

    Axis by axis, what is zero before and what is not wanted after left out: some two thirds of the work.
    """
    box, device = volume.shape[-1], volume.device
    padded = padding * box
    phase = _phase(padded, box, reach, device) / box ** (1 / 3)
    within = min(reach, padded // 2) + 1
    q = torch.arange(-reach, reach + 1, device=device) % padded
    along_x = torch.fft.rfft(volume, n=padded, dim=2)[..., :within] * phase[reach : reach + within]
    along_y = torch.fft.fft(along_x, n=padded, dim=1)[:, q] * phase[:, None]
    return torch.fft.fft(along_y, n=padded, dim=0)[q] * phase[:, None, None]


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
    window = interpolation_window(box_px, padding, block.device)
    maps = torch.empty(block.shape[-1], box_px, box_px, box_px, device=block.device)
    for channel, volume in enumerate(maps):
        torch.div(_cropped_inverse(block[..., channel], box_px, padding), window, out=volume)
    return maps


def _cropped_inverse(block: Tensor, box_px: int, padding: int) -> Tensor:
    """(d, d, d) inverse transform of one channel's block inside the unpadded box, axis by axis."""
    reach, padded = block.shape[2] - 1, padding * box_px
    # The outermost layer of a block only serves interpolation; inside the padded box it may not exist.
    limit = min(reach, (padded - 1) // 2)
    inner = slice(reach - limit, reach + limit + 1)
    phase = _phase(padded, box_px, limit, block.device).conj() * box_px ** (1 / 3)
    q = torch.arange(-limit, limit + 1, device=block.device) % padded
    layers = block.new_zeros(padded, 2 * limit + 1, limit + 1)
    layers[q] = block[inner, inner, : limit + 1] * phase[:, None, None]
    rows = block.new_zeros(box_px, padded, limit + 1)
    rows[:, q] = torch.fft.ifft(layers, dim=0)[:box_px] * phase[:, None]
    del layers
    lines = torch.fft.ifft(rows, dim=1)[:, :box_px] * phase[limit:]
    return torch.fft.irfft(lines, n=padded, dim=2)[..., :box_px]

"""Weighted sums of images in Fourier space, and the regularised maps that follow from them.

Per voxel of the padded transform the M-step is a small linear system,

    (D + diag(prior)) V = N,     N = sum a c y E[(1, z)],     D = sum c^2 E[(1, z)(1, z)^T]    (theory eq. 7)

with channels mean, component 1, ..., q; for a single map it is RELION's Wiener filter (Scheres 2012).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nunatak.core import device as devices
from nunatak.core.device import CPU
from nunatak.projection.gridding import maps_from_block
from nunatak.projection.slices import block_shape
from nunatak.volumes import wiener_kernels

# Layers of a block that are solved at a time.
_LAYERS = 16


@dataclass(frozen=True)
class FourierSums:
    """Sufficient statistics of the maps.

    Attributes
    ----------
    numerator : (z, y, x, c) complex64
    denominator : (z, y, x, c (c + 1) / 2) float32
        Packed symmetric matrices, row by row of the upper triangle.
    radius_px : int
    padding : int
    """

    numerator: Tensor
    denominator: Tensor
    radius_px: int
    padding: int = 2

    @property
    def channels(self) -> int:
        """Number of maps that are solved for together: the mean and the components."""
        return self.numerator.shape[-1]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) extent of the block."""
        depth, height, width = self.numerator.shape[:3]
        return depth, height, width

    def __add__(self, other: FourierSums) -> FourierSums:
        return FourierSums(
            self.numerator + other.numerator,
            self.denominator + other.denominator,
            self.radius_px,
            self.padding,
        )

    def scaled(self, factor: float) -> FourierSums:
        """All sums times a factor: how old batches are forgotten."""
        return FourierSums(self.numerator * factor, self.denominator * factor, self.radius_px, self.padding)


def empty_sums(radius_px: int, channels: int, padding: int = 2, device: torch.device = CPU) -> FourierSums:
    """Sums of no images."""
    shape = block_shape(radius_px, padding)
    return FourierSums(
        torch.zeros(*shape, channels, dtype=torch.complex64, device=device),
        torch.zeros(*shape, channels * (channels + 1) // 2, device=device),
        radius_px,
        padding,
    )


def block_shells(radius_px: int, padding: int = 2, device: torch.device = CPU) -> Tensor:
    """(z, y, x) int64 rounded radius in Fourier pixels of every voxel of a block, capped at radius + 1."""
    reach = padding * radius_px + 1
    full = torch.arange(-reach, reach + 1, device=device, dtype=torch.float32) / padding
    half = full[reach:]
    radius = (full[:, None, None] ** 2 + full[None, :, None] ** 2 + half[None, None] ** 2).sqrt()
    return radius.round().long().clamp(max=radius_px + 1)


def diagonal_positions(channels: int, device: torch.device = CPU) -> Tensor:
    """Where the diagonal of a packed symmetric matrix lies."""
    row, column = torch.triu_indices(channels, channels, device=device)
    return torch.nonzero(row == column).flatten()


def shell_means(values: Tensor, shells: Tensor, count: int) -> Tensor:
    """(count, c) mean over each shell of (z, y, x, c) values."""
    flat = values.reshape(-1, values.shape[-1])
    total = flat.new_zeros(count, flat.shape[1]).index_add_(0, shells.reshape(-1), flat)
    return total / torch.bincount(shells.reshape(-1), minlength=count).clamp(min=1)[:, None].to(total.dtype)


def solve_blocks(sums: FourierSums, ridge: Tensor, radius_px: int) -> Tensor:
    """(z, y, x, c) transforms that solve the regularised systems; zero beyond the radius.

    Parameters
    ----------
    ridge : (radius + 2, c) float32
        Prior precision per shell and channel, in the units of the denominator.
    """
    return solve_added((sums,), ridge, radius_px)


def solve_added(parts: Sequence[FourierSums], ridge: Tensor, radius_px: int) -> Tensor:
    """The solution of the sum of several sums, which is never held as a whole; see solve_blocks."""
    shells = block_shells(parts[0].radius_px, parts[0].padding, parts[0].numerator.device)
    solved = torch.empty_like(parts[0].numerator)
    for start in range(0, len(solved), _LAYERS):
        some = slice(start, start + _LAYERS)
        numerator, denominator = parts[0].numerator[some], parts[0].denominator[some]
        for other in parts[1:]:
            numerator, denominator = numerator + other.numerator[some], denominator + other.denominator[some]
        solved[some] = _solve_layers(numerator, denominator, ridge, shells[some])
    return solved.mul_((shells <= radius_px)[..., None])


def _solve_layers(numerator: Tensor, denominator: Tensor, ridge: Tensor, shells: Tensor) -> Tensor:
    if numerator.shape[-1] == 1:
        return numerator / (denominator + ridge[shells] + 1e-12)
    if devices.is_compiled(numerator):
        return wiener_kernels.solve_packed(numerator, denominator, ridge, shells)
    return reference_solve_packed(numerator, denominator, ridge, shells)


def reference_solve_packed(numerator: Tensor, denominator: Tensor, ridge: Tensor, shells: Tensor) -> Tensor:
    """Per-voxel solution of packed symmetric systems, in plain torch; see wiener_kernels.solve_packed."""
    channels = numerator.shape[-1]
    row, column = torch.triu_indices(channels, channels, device=numerator.device)
    right = torch.view_as_real(numerator.reshape(-1, channels))
    packed, shell = denominator.reshape(len(right), -1), shells.reshape(-1)
    # The matrices, their factors and the diagonal, in float32.
    at_once = devices.rows_that_fit(16 * channels * (channels + 1), numerator.device)
    solved = []
    for start in range(0, len(right), at_once):
        part = slice(start, start + at_once)
        matrix = packed.new_zeros(len(packed[part]), channels, channels)
        matrix[:, row, column] = packed[part]
        matrix[:, column, row] = packed[part]
        matrix = matrix + torch.diag_embed(ridge[shell[part]] + 1e-12)
        solved.append(torch.linalg.solve(matrix, right[part]))
    return torch.view_as_complex(torch.cat(solved).contiguous()).view(numerator.shape)


def relative_ridge(sums: FourierSums, fraction: float) -> Tensor:
    """(radius + 2, c) prior that is a fraction of the mean weight in each shell."""
    shells = block_shells(sums.radius_px, sums.padding, sums.denominator.device)
    diagonal = sums.denominator[..., diagonal_positions(sums.channels, sums.denominator.device)]
    means = shell_means(diagonal, shells, sums.radius_px + 2)
    floor = 1e-3 * means[1:-1].amax(0)
    return fraction * torch.maximum(means, floor)


def solve_maps(sums: FourierSums, ridge: Tensor, radius_px: int, box_px: int) -> Tensor:
    """(c, d, d, d) real maps on a box; see solve_blocks."""
    return maps_from_block(solve_blocks(sums, ridge, radius_px), box_px, sums.padding)

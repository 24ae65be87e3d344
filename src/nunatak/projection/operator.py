"""The projection operator of the image model and its adjoint, fast on the CPU, plain torch elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nunatak.core import device as devices
from nunatak.projection import kernels, slices
from nunatak.projection.gridding import block_from_maps, maps_from_block


def slice_block(block: Tensor, rotations: Tensor, frequencies: Tensor, padding: int = 2) -> Tensor:
    """(p, n, c) central slices of a block; see nunatak.projection.slices.slice_block."""
    implementation = kernels if devices.is_compiled(block) else slices
    return implementation.slice_block(block, rotations, frequencies, padding)


def insert_block(
    values: Tensor, rotations: Tensor, frequencies: Tensor, shape: tuple[int, int, int], padding: int = 2
) -> Tensor:
    """Adjoint of slice_block, the Friedel mates on the plane x = 0 added; complex samples or real weights."""
    implementation = kernels if devices.is_compiled(values) else slices
    return slices.complete_plane(implementation.insert_block(values, rotations, frequencies, padding, shape))


def insert_moments(
    weighted: tuple[Tensor, Tensor],
    moments: tuple[Tensor, Tensor],
    rotations: Tensor,
    frequencies: Tensor,
    sums: tuple[Tensor, Tensor],
    padding: int = 2,
) -> None:
    """See nunatak.projection.slices.insert_moments; slices.complete_plane is due when all is added."""
    if devices.is_compiled(weighted[0]):
        kernels.insert_moments(weighted, moments, rotations, frequencies, padding, sums)
        return
    channels, products = moments[0].shape[1], moments[1].shape[1]
    # Per sample: values and weights, and those of eight corners; coordinates, fractions and indices.
    row_bytes = len(frequencies) * (80 * channels + 40 * products + 200)
    for part in _parts(len(rotations), devices.rows_that_fit(row_bytes, rotations.device)):
        slices.insert_moments(
            (weighted[0][part], weighted[1][part]),
            (moments[0][part], moments[1][part]),
            rotations[part],
            frequencies,
            padding,
            sums,
        )


def _parts(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


@dataclass(frozen=True)
class Projector:
    """P: maps to half-plane samples of their projections, with its adjoint.

    The inner product of samples is the real one over the whole plane, 2 Re <a, b> on the half-plane.

    Attributes
    ----------
    frequencies : (n, 2)
        Half-plane frequencies in Fourier pixels (convention 5).
    radius_px, box_px, padding : int
    """

    frequencies: Tensor
    radius_px: int
    box_px: int
    padding: int = 2

    def forward(self, maps: Tensor, rotations: Tensor) -> Tensor:
        """(p, n, c) complex samples of (c, d, d, d) maps at (p, 3, 3) rotations."""
        block = block_from_maps(maps, self.radius_px, self.padding)
        return slice_block(block, rotations, self.frequencies, self.padding)

    def adjoint(self, samples: Tensor, rotations: Tensor) -> Tensor:
        """(c, d, d, d) maps from (p, n, c) samples: <forward(v), s> = <v, adjoint(s)>."""
        shape = slices.block_shape(self.radius_px, self.padding)
        block = insert_block(samples.to(torch.complex64), rotations, self.frequencies, shape, self.padding)
        return maps_from_block(block, self.box_px, self.padding) * (self.padding**3 * self.box_px)

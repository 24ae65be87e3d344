"""A map's slices at every pose of a grid, ready to be compared with images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nunatak.geometry.so3_grid import RotationGrid
from nunatak.projection.operator import slice_block
from nunatak.search.cyclic import residues, slice_matrix, turned_products
from nunatak.search.polar import PolarPlane, turn_all, turn_weights


@dataclass(frozen=True)
class SliceBank:
    """Slices of one map at the directions of a grid, and what follows from them for its in-plane turns.

    In float32 scores are made per angular residue (nunatak.search.cyclic), which costs a twelfth of the
    operations; in bfloat16, where matrix products are some ten times as fast, with every turned slice.

    Attributes
    ----------
    grid : RotationGrid
    plane : PolarPlane
    base : (d, n) complex64
        Slices at the directions, not turned.
    dtype : torch.dtype
        bfloat16 or float32.
    """

    grid: RotationGrid
    plane: PolarPlane
    base: Tensor
    dtype: torch.dtype

    @property
    def by_residue(self) -> bool:
        """Scores are made from residues, not from turned slices."""
        return scores_by_residue(self.dtype)

    @property
    def turns(self) -> int:
        """Number of in-plane turns."""
        return self.grid.in_plane_count

    @property
    def poses(self) -> int:
        """Number of poses: directions times turns, the turns fastest."""
        return len(self.base) * self.turns

    @cached_property
    def features(self) -> Tensor:
        """(p, 2 n) turned slices: real parts, then imaginary parts."""
        return turn_all(self.base, self.plane, self.dtype).flatten(0, 1)

    @cached_property
    def power(self) -> Tensor:
        """(p, n) float32 |P|^2 of each sample of the turned slices."""
        return turn_weights(self.base.abs() ** 2, self.plane).flatten(0, 1)

    @cached_property
    def matrix(self) -> Tensor:
        """(C / 2 + 1, 2 u, 2 d): see cyclic.slice_matrix."""
        return slice_matrix(residues(self.base, self.turns))

    @cached_property
    def power_matrix(self) -> Tensor:
        """(C / 2 + 1, 2 u, 2 d) of |P|^2."""
        return slice_matrix(residues((self.base.abs() ** 2).to(self.base.dtype), self.turns))

    def products(self, weighted: Tensor, phases: Tensor) -> Tensor:
        """(b, s, p) <x, P> of (b, n) CTF-multiplied images at (s, n) shifts with every turned slice."""
        shifted = weighted[:, None] * phases
        if self.by_residue:
            sums = residues(shifted.flatten(0, 1), self.turns) @ self.matrix
            products = turned_products(sums, self.turns).transpose(1, 2).flatten(1)
        else:
            products = shifted_features(shifted, self.dtype).flatten(0, 1) @ self.features.T
        return products.view(len(weighted), len(phases), self.poses)

    def norms(self, squared_transfer: Tensor) -> Tensor:
        """(b, C, d) 1/2 <c^2, |P|^2> of (b, n) squared transfer functions."""
        if self.by_residue:
            complexes = torch.complex(squared_transfer, torch.zeros_like(squared_transfer))
            return 0.5 * turned_products(residues(complexes, self.turns) @ self.power_matrix, self.turns)
        flat = 0.5 * (squared_transfer @ self.power.T)
        return flat.unflatten(1, (len(self.base), self.turns)).transpose(1, 2)


def shifted_features(shifted: Tensor, dtype: torch.dtype) -> Tensor:
    """(..., 2 n) real features of (..., n) complex samples: real parts, then imaginary parts."""
    return torch.cat([shifted.real, shifted.imag], -1).to(dtype)


def scores_by_residue(dtype: torch.dtype) -> bool:
    """Whether scores of that type are made from residues; otherwise from turned slices."""
    return dtype == torch.float32


def scoring_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where matrix products in it have tiles of their own in the processor, float32 elsewhere.

    Without tiles, bfloat16 is at best twice as fast, and float32 takes a twelfth of the operations
    (docs/decisions/0006).
    """
    if device.type == "cuda":
        return torch.bfloat16
    return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32


def slice_bank(block: Tensor, grid: RotationGrid, plane: PolarPlane, dtype: torch.dtype) -> SliceBank:
    """Bank of the first channel of a block; grid and plane live where the block does."""
    base = slice_block(block[..., :1], grid.directions, plane.frequencies)[..., 0]
    return SliceBank(grid, plane, base, dtype)

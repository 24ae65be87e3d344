"""Hierarchical grids on the rotation group: HEALPix viewing directions times in-plane angles.

Order h has 12 * 4^h directions and 6 * 2^h in-plane angles, 72 * 8^h rotations in all, spaced by about
60 / 2^h degrees (Gorski et al. 2005; Yershova et al. 2010). Refining by one order gives each rotation
8 children.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import healpix
import numpy as np
import torch
from torch import Tensor

from nunatak.geometry.rotations import matrices_from_euler


@dataclass(frozen=True)
class RotationGrid:
    """All rotations of one order.

    Attributes
    ----------
    order : int
    directions : (d, 3, 3) float32
        One rotation per viewing direction, with psi = 0.
    in_plane_count : int
        Number of equidistant psi angles that each direction is combined with.
    """

    order: int
    directions: Tensor
    in_plane_count: int

    def __len__(self) -> int:
        return len(self.directions) * self.in_plane_count

    @property
    def step_deg(self) -> float:
        """Spacing of the in-plane angles, and about that of the directions."""
        return 360.0 / self.in_plane_count

    def rotations(self) -> Tensor:
        """(d * in_plane_count, 3, 3) float32, psi fastest."""
        psi = torch.arange(self.in_plane_count, dtype=torch.float64) * np.radians(self.step_deg)
        return (in_plane_matrices(psi)[None] @ self.directions.double()[:, None]).flatten(0, 1).float()


def in_plane_matrices(psi_rad: Tensor) -> Tensor:
    """(..., 3, 3) matrices Rz(psi), to be applied from the left."""
    cosine, sine = torch.cos(psi_rad), torch.sin(psi_rad)
    zero, one = torch.zeros_like(psi_rad), torch.ones_like(psi_rad)
    rows = [torch.stack(r, -1) for r in ((cosine, sine, zero), (-sine, cosine, zero), (zero, zero, one))]
    return torch.stack(rows, -2)


@lru_cache(maxsize=8)
def rotation_grid(order: int) -> RotationGrid:
    """The grid of an order: 0 is 60 degrees, 2 is 15 degrees and 4,608 rotations, 3 is 7.5 degrees."""
    pixels = np.arange(12 * 4**order)
    theta, phi = healpix.pix2ang(2**order, pixels, nest=True)
    angles = torch.from_numpy(np.degrees(np.stack([phi, theta, np.zeros_like(phi)], 1)))
    return RotationGrid(order, matrices_from_euler(angles).float(), 6 * 2**order)


def tangent_offsets(step_deg: float, rings: int = 1) -> Tensor:
    """(m, 3) rotation vectors in radians of a cubic neighbourhood of the identity, the identity first.

    `rings` steps to either side in each direction, corners of the cube cut to a ball of the same radius.
    """
    axis = torch.arange(-rings, rings + 1, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis, axis)
    squared = (grid**2).sum(1)
    grid = grid[torch.argsort(squared, stable=True)]
    keep = (grid**2).sum(1) <= rings**2 + rings * 0.5 + 0.6
    return grid[keep] * np.radians(step_deg)


def shift_disk(extent: float, step: float) -> Tensor:
    """(s, 2) shifts on a square grid inside a disk, zero first, in the unit of `extent` and `step`."""
    count = int(extent / step + 1e-6)
    axis = torch.arange(-count, count + 1, dtype=torch.float64) * step
    grid = torch.cartesian_prod(axis, axis)
    length = grid.norm(dim=1)
    order = torch.argsort(length, stable=True)
    return grid[order][length[order] <= extent + 1e-6].float()

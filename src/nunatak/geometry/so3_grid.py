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

from nunatak.core.device import CPU
from nunatak.geometry.rotations import matrices_from_euler, rotation_from_vector


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
        turns = torch.arange(self.in_plane_count, dtype=torch.float64, device=self.directions.device)
        psi = turns * np.radians(self.step_deg)
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


@lru_cache(maxsize=16)
def cell_frames(base_order: int, order: int, device: torch.device = CPU) -> Tensor:
    """(12 * 4^order, 3, 3) float32 rotations, one per nested HEALPix pixel, that psi angles are counted from.

    At the base order these are the grid's directions. A finer pixel's frame is its parent's, turned by the
    smallest rotation that carries the parent's direction of view to its own: Euler angles, whose psi changes
    meaning from pixel to pixel about the poles, would tear a cell's children apart there.
    """
    if device != CPU:
        return cell_frames(base_order, order).to(device)
    if order == base_order:
        return rotation_grid(order).directions
    parents = cell_frames(base_order, order - 1).double().repeat_interleave(4, 0)
    target = rotation_grid(order).directions[:, 2].double()
    axis = torch.linalg.cross(parents[:, 2], target)
    turn = torch.asin(axis.norm(dim=1, keepdim=True).clamp(max=1.0))
    carry = rotation_from_vector(axis / axis.norm(dim=1, keepdim=True).clamp(min=1e-12) * turn)
    return (parents @ carry.transpose(1, 2)).float()


def cell_rotations(base_order: int, order: int, pixels: Tensor, turns: Tensor) -> Tensor:
    """(..., 3, 3) float32 centres of cells of the rotation group.

    A cell is a HEALPix pixel times an interval of psi. The cells of an order tile the group, and each is the
    union of its 8 children of the next order. Those of the base order are centred on the rotation grid.

    Parameters
    ----------
    base_order, order : int
        Where the refinement began, and the order of these cells.
    pixels, turns : (...) int64
        Nested HEALPix pixel, and index of the psi interval, 0 to 6 * 2^order - 1.
    """
    step, base_step = 60.0 / 2**order, 60.0 / 2**base_order
    psi = torch.deg2rad((turns.double() + 0.5) * step - 0.5 * base_step)
    frames = cell_frames(base_order, order, pixels.device)
    return (in_plane_matrices(psi).float() @ frames[pixels]).contiguous()


def child_cells(pixels: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 8) pixels and turns of the next order's cells that tile given (...) cells: 4 pixels x 2 psi."""
    child = torch.arange(8, device=pixels.device)
    return 4 * pixels[..., None] + child // 2, 2 * turns[..., None] + child % 2


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

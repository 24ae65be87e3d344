"""Poses that are refined by gradients: a rotation and a shift per particle, on SO(3) x R^2, for any volume.

A gradient is taken with respect to a small turn w of the current rotation, R -> exp(w) R, so rotations stay
rotations and no parametrisation has to be chosen; steps are Adam's, by row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nunatak.geometry.rotations import rotation_from_vector
from nunatak.search.lazy_adam import RowMoments, no_moments, unshared, visit


@dataclass(frozen=True)
class PoseTable:
    """Poses of n particles and the moments of their gradients.

    Attributes
    ----------
    rotations : (n, 3, 3) float32
    shifts_px : (n, 2) float32
        Convention 3, in pixels of the particles' box.
    turning, shifting : RowMoments
    """

    rotations: Tensor
    shifts_px: Tensor
    turning: RowMoments
    shifting: RowMoments

    def __len__(self) -> int:
        return len(self.rotations)

    def unshared(self) -> PoseTable:
        """A copy for a pass to change."""
        poses = self.rotations.clone(), self.shifts_px.clone()
        return PoseTable(*poses, unshared(self.turning), unshared(self.shifting))


def pose_table(rotations: Tensor, shifts_px: Tensor) -> PoseTable:
    """A table of poses that were never refined."""
    count, device = len(rotations), rotations.device
    return PoseTable(rotations, shifts_px, no_moments(count, 3, device), no_moments(count, 2, device))


@dataclass(frozen=True)
class PoseLeaves:
    """Poses of some rows as functions of leaves: gradients are taken by these.

    Attributes
    ----------
    rotations : (b, 3, 3)
        To first order in turns, which are zero.
    turns : (b, 3)
        Rotation vectors in radians, R -> exp(turn) R.
    shifts_px : (b, 2)
    """

    rotations: Tensor
    turns: Tensor
    shifts_px: Tensor


def pose_leaves(table: PoseTable, rows: Tensor) -> PoseLeaves:
    """The poses of some rows, to be differentiated."""
    held = table.rotations[rows]
    turns = torch.zeros(len(rows), 3, device=held.device, requires_grad=True)
    shifts = table.shifts_px[rows].clone().requires_grad_()
    # exp(w) R = R + w x R to first order; columns of R are vectors.
    moved = held + torch.linalg.cross(turns[:, :, None].expand_as(held), held, dim=1)
    return PoseLeaves(moved, turns, shifts)


def move_poses(table: PoseTable, rows: Tensor, leaves: PoseLeaves, rates: tuple[float, float]) -> None:
    """Step down the gradients that leaves hold; the table's rows are changed in place.

    Parameters
    ----------
    rates : in radians and in pixels
    """
    turn_gradient, shift_gradient = leaves.turns.grad, leaves.shifts_px.grad
    if turn_gradient is None or shift_gradient is None:
        return
    turns = visit(table.turning, rows, turn_gradient, rates[0])
    turned = rotation_from_vector(turns.double()) @ table.rotations[rows].double()
    table.rotations[rows] = turned.float()
    table.shifts_px[rows] += visit(table.shifting, rows, shift_gradient, rates[1])

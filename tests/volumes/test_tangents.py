"""Directions that errors of pose and contrast take."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nunatak.volumes.tangents import nuisance_maps

BOX = 24
CENTRES = torch.tensor([[3.0, -2.0, 1.0], [-4.0, 1.5, 2.0], [0.5, 4.0, -3.0]])


def blobs(centres: Tensor) -> Tensor:
    """Gaussian blobs at (x, y, z) from the origin."""
    axis = torch.arange(BOX, dtype=torch.float32) - BOX // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    square = sum((grid[..., None] - centres[:, i]) ** 2 for i, grid in enumerate((x, y, z)))
    return torch.exp(-0.5 * square / 2.0**2).sum(-1)


def about(axis: int, angle: float) -> Tensor:
    """Rotation matrix on (x, y, z) about one of the axes."""
    turn = torch.eye(3)
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    turn[i, i] = turn[j, j] = math.cos(angle)
    turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
    return turn


def explained(change: Tensor, maps: Tensor) -> float:
    """Part of a change's power that lies in the span of some maps."""
    basis = torch.linalg.qr(maps.flatten(1).T)[0]
    return float((basis.T @ change.flatten()).square().sum() / change.square().sum())


def test_small_turns_and_shifts_are_multiples_of_one_map_each() -> None:
    found = nuisance_maps(blobs(CENTRES), 10)
    step = 1e-3
    for axis in range(3):
        moved = torch.eye(3)[axis] * step
        shifted = (blobs(CENTRES + moved) - blobs(CENTRES - moved)) / (2 * step)
        # Slopes are stacked z, y, x, as maps are.
        assert explained(shifted, found[2 - axis : 3 - axis]) > 0.999
        turn = about(axis, step)
        turned = (blobs(CENTRES @ turn.T) - blobs(CENTRES @ turn)) / (2 * step)
        assert explained(turned, found[3 + axis : 4 + axis]) > 0.999


def test_bands_are_the_map_and_its_smooth_filters() -> None:
    mean = blobs(CENTRES)
    bands = nuisance_maps(mean, 10)[6:]
    assert explained(mean, bands) > 0.999
    assert explained(blobs(CENTRES) - blobs(CENTRES[:2]), bands) < 0.9


def test_a_blob_that_moves_alone_is_not_a_nuisance() -> None:
    moved = CENTRES.clone()
    moved[0, 1] += 2.0
    assert explained(blobs(moved) - blobs(CENTRES), nuisance_maps(blobs(CENTRES), 10)) < 0.6

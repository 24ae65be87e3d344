"""Frames as a smooth function of the latents: a steady drift is found in spite of steps and outliers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nunatak.geometry.rotations import geodesic_deg, mean_rotation, random_rotations, rotation_from_vector
from nunatak.geometry.rotations import vector_from_rotation as vectors
from nunatak.reconstruct.frame_fit import smooth_motion
from nunatak.volumes.alignment import Motion


def steady_drift(count: int, whole_deg: float, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Centres on a line in three dimensions, frames and shifts that change at a constant rate along it."""
    axis = torch.nn.functional.normalize(torch.randn(3, generator=torch.Generator().manual_seed(seed)), dim=0)
    along = torch.linspace(-0.5, 0.5, count, dtype=torch.float64)
    start = random_rotations(1, torch.Generator().manual_seed(seed))[0].double()
    turns = start @ rotation_from_vector(along[:, None] * axis.double() * math.radians(whole_deg))
    shifts = along[:, None] * torch.tensor([3.0, -2.0, 1.0], dtype=torch.float64)
    return along[:, None] * torch.tensor([[2.0, -1.0, 0.5]], dtype=torch.float64), turns, shifts


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_steady_drift_is_kept(seed: int) -> None:
    centres, turns, shifts = steady_drift(12, 50.0, seed)
    found = smooth_motion(centres, torch.full((12,), 1 / 12), Motion(turns, shifts))
    assert float(geodesic_deg(found.rotations, turns).max()) < 0.6
    assert float((found.shifts_px - shifts).abs().max()) < 0.05


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_steps_are_evened_out_and_a_flipped_group_is_not_followed(seed: int) -> None:
    """Steps of four groups at one frame, 5.5 degrees wrong at worst, and one group turned right round."""
    centres, turns, shifts = steady_drift(24, 50.0, seed)
    stepped = turns.view(6, 4, 3, 3)[:, 1:2].expand(-1, 4, -1, -1).reshape(24, 3, 3).clone()
    worst = float(geodesic_deg(stepped, turns).max())
    stepped[7] = stepped[7] @ rotation_from_vector(torch.tensor([0.0, math.pi - 0.1, 0.0]).double())
    found = smooth_motion(centres, torch.full((24,), 1 / 24), Motion(stepped, shifts))
    # All frames together may be turned: only how they differ from each other counts.
    left = found.rotations @ turns.transpose(1, 2)
    off = geodesic_deg(left, mean_rotation(left, torch.ones(24).double()))
    assert worst > 4.0
    assert float(off.max()) < 0.45 * worst


def test_groups_in_one_place_share_one_motion() -> None:
    turns = random_rotations(1, torch.Generator().manual_seed(4)).expand(5, 3, 3).clone()
    found = smooth_motion(torch.zeros(5, 2), torch.full((5,), 0.2), Motion(turns, torch.ones(5, 3)))
    torch.testing.assert_close(found.rotations, turns, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.shifts_px, torch.ones(5, 3))


def test_rotation_vectors_and_matrices_are_inverse() -> None:
    given = torch.randn(20, 3, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(vectors(rotation_from_vector(given)), given)


def test_the_mean_of_two_rotations_lies_half_way() -> None:
    pair = rotation_from_vector(torch.tensor([[0.0, 0.0, 0.2], [0.0, 0.0, 0.8]]).double())
    middle = rotation_from_vector(torch.tensor([0.0, 0.0, 0.5]).double())
    torch.testing.assert_close(mean_rotation(pair, torch.ones(2).double()), middle)

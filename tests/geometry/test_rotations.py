"""Rotations: RELION's angles there and back, also at the poles; distances; uniform draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nunatak.geometry.rotations import (
    euler_from_matrices,
    geodesic_deg,
    matrices_from_euler,
    random_rotations,
    rotation_from_vector,
)

angles = st.floats(-360, 360, allow_nan=False)
tilts = st.one_of(st.floats(0, 180), st.sampled_from([0.0, 180.0, 1e-5, 180 - 1e-5, 90.0]))
quick = settings(max_examples=60, deadline=None)


def matrix(rot: float, tilt: float, psi: float) -> torch.Tensor:
    return matrices_from_euler(torch.tensor([rot, tilt, psi], dtype=torch.float64))


def random_angles(seed: int) -> list[float]:
    """Exact rotations: the float32 ones of random_rotations are off by 1e-4 degrees at half turns."""
    draw = torch.rand(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (draw * torch.tensor([360.0, 180.0, 360.0], dtype=torch.float64)).tolist()


@quick
@given(angles, tilts, angles)
def test_euler_angles_return_the_same_matrix(rot: float, tilt: float, psi: float) -> None:
    first = matrix(rot, tilt, psi)
    assert geodesic_deg(first, matrices_from_euler(euler_from_matrices(first))).item() < 1e-4


@quick
@given(st.floats(-179, 179), st.floats(0.1, 179.9), st.floats(-179, 179))
def test_matrices_return_the_same_euler_angles(rot: float, tilt: float, psi: float) -> None:
    found = euler_from_matrices(matrix(rot, tilt, psi))
    np.testing.assert_allclose(found, [rot, tilt, psi], atol=1e-6)


@quick
@given(angles, angles, st.sampled_from([0.0, 180.0]))
def test_at_the_poles_rot_is_zero(rot: float, psi: float, tilt: float) -> None:
    first = matrix(rot, tilt, psi)
    found = euler_from_matrices(first)
    assert found[0] == 0
    assert found[1].item() == pytest.approx(tilt, abs=1e-4)
    assert geodesic_deg(first, matrices_from_euler(found)).item() < 1e-4


@quick
@given(angles, tilts, angles)
def test_rows_are_axes_of_a_right_handed_frame(rot: float, tilt: float, psi: float) -> None:
    r = matrix(rot, tilt, psi)
    torch.testing.assert_close(r @ r.T, torch.eye(3, dtype=r.dtype))
    torch.testing.assert_close(torch.linalg.cross(r[0], r[1]), r[2])
    a, b = math.radians(rot), math.radians(tilt)
    np.testing.assert_allclose(
        r[2], [math.sin(b) * math.cos(a), math.sin(b) * math.sin(a), math.cos(b)], atol=1e-9
    )


@quick
@given(
    st.lists(st.floats(-1, 1), min_size=3, max_size=3), st.floats(1e-6, math.pi - 1e-3), st.integers(0, 99)
)
def test_distance_is_the_angle_between(axis: list[float], angle_rad: float, seed: int) -> None:
    direction = torch.tensor(axis, dtype=torch.float64) + torch.tensor([2.0, 0, 0], dtype=torch.float64)
    turn = rotation_from_vector(direction / direction.norm() * angle_rad)
    start = matrix(*random_angles(seed))
    assert geodesic_deg(turn @ start, start).item() == pytest.approx(
        math.degrees(angle_rad), rel=1e-5, abs=1e-5
    )
    other = matrix(*random_angles(seed + 1))
    # Turning both frames, or exchanging them, changes nothing.
    here = geodesic_deg(start, other).item()
    assert geodesic_deg(other, start).item() == pytest.approx(here)
    assert geodesic_deg(turn @ start, turn @ other).item() == pytest.approx(here, abs=1e-4)
    assert geodesic_deg(start @ turn, other @ turn).item() == pytest.approx(here, abs=1e-4)


def test_half_turn_is_180_degrees() -> None:
    assert geodesic_deg(matrix(0, 180, 0), matrix(0, 0, 0)).item() == pytest.approx(180)


def test_random_rotations_are_uniform_and_repeat() -> None:
    draw = random_rotations(20_000, torch.Generator().manual_seed(1))
    assert draw.dtype == torch.float32
    assert torch.equal(draw, random_rotations(20_000, torch.Generator().manual_seed(1)))
    assert draw.mean(0).abs().max() < 0.02
    torch.testing.assert_close(torch.linalg.det(draw), torch.ones(20_000))
    # Uniform on SO(3): the mean angle to any fixed rotation is pi/2 + 2/pi.
    angle = geodesic_deg(draw, torch.eye(3)).mean().item()
    assert angle == pytest.approx(math.degrees(math.pi / 2 + 2 / math.pi), abs=1)

import numpy as np
import pytest
import roma
import torch

from nunatak.geometry.rotations import geodesic_deg, random_rotations
from nunatak.metrics.pose_error import (
    FLIP,
    align_frames,
    angles_to,
    fit_origin_A,
    shift_error_A,
    within_state_error_deg,
)

FRAME = roma.rotvec_to_rotmat(torch.tensor([2.0, -1.1, 0.6], dtype=torch.float64)).numpy()


def _rotations(count, seed=0):
    return random_rotations(count, torch.Generator().manual_seed(seed)).double().numpy()


def _turned(rotations, degrees, seed=1):
    """Gaussian rotation vectors whose median length is the given angle (1.538 deviations)."""
    axis = np.random.default_rng(seed).normal(size=(len(rotations), 3)) * np.radians(degrees) / 1.538
    return roma.rotvec_to_rotmat(torch.from_numpy(axis)).numpy() @ rotations


def test_angles_agree_with_the_geodesic():
    rotations = _rotations(50)
    expected = geodesic_deg(torch.from_numpy(rotations), torch.from_numpy(rotations[:1])).numpy()
    np.testing.assert_allclose(angles_to(rotations[0], rotations), expected, atol=1e-6)


@pytest.mark.parametrize("hand", [1, -1])
@pytest.mark.parametrize("degrees", [0.0, 3.0, 12.0])
def test_frame_hand_and_error_come_back(hand, degrees):
    true = _rotations(400)
    run = _turned(true @ FRAME, degrees)
    run = run if hand == 1 else FLIP @ run
    found = align_frames(run, true)
    assert found.hand == hand
    assert np.median(found.error_deg) == pytest.approx(degrees, abs=0.1 * degrees + 1e-5)
    assert angles_to(FRAME, found.rotation[None])[0] < 0.1 * degrees + 1e-5


def test_a_third_of_random_poses_does_not_move_the_frame():
    true = _rotations(600)
    run = _turned(true @ FRAME, 2.0)
    run[:200] = _rotations(200, seed=9)
    assert angles_to(FRAME, align_frames(run, true).rotation[None])[0] < 0.3


def test_states_with_frames_of_their_own_have_no_error_within():
    true = _rotations(300)
    states = np.arange(300) % 3
    frames = _rotations(3, seed=5)
    run = true @ frames[states]
    assert np.median(within_state_error_deg(run, true, states, 1)) < 1e-5
    assert np.median(align_frames(run, true).error_deg) > 1


def test_molecules_that_share_nothing_have_hands_of_their_own():
    """Of three molecules one came out mirrored; random poses stay wrong with either hand."""
    true = _rotations(300)
    states = np.arange(300) % 3
    run = true @ _rotations(3, seed=5)[states]
    run[states == 1] = FLIP @ run[states == 1]
    assert np.max(within_state_error_deg(run, true, states, None)) < 1e-5
    assert np.median(within_state_error_deg(run, true, states, 1)[states == 1]) > 30
    run[states == 2] = _rotations(100, seed=8)
    assert np.median(within_state_error_deg(run, true, states, None)[states == 2]) > 30


def test_shift_error_leaves_the_moved_origin_out():
    true = _rotations(500)
    generator = np.random.default_rng(0)
    shifts = generator.uniform(-9, 9, (500, 2))
    origin = np.array([5.0, -2.0, 8.0])
    angle = generator.uniform(0, 2 * np.pi, 500)
    run = shifts + true[:, :2] @ origin + 0.5 * np.stack([np.cos(angle), np.sin(angle)], 1)
    run[:50] += 40
    found = fit_origin_A(run, shifts, true)
    np.testing.assert_allclose(found, origin, atol=0.1)
    assert np.median(shift_error_A(run, shifts, true, found)) == pytest.approx(0.5, rel=0.1)

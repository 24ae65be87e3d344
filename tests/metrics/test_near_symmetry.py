"""Poses modulo a near symmetry whose axis nobody gave."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nunatak.core.errors import InputError
from nunatak.metrics.near_symmetry import within_state_error_modulo_turns_deg
from nunatak.metrics.pose_error import FLIP, within_state_error_deg

COUNT, NOISE_DEG = 2000, 2.0


@pytest.mark.parametrize(("order", "hand"), [(2, 1), (3, -1), (7, 1)])
def test_turns_about_a_near_axis_are_no_error(order: int, hand: int) -> None:
    """Two states in frames of their own, particles turned at random, a fifth of the poses at random."""
    generator = np.random.default_rng(order)
    true = Rotation.random(COUNT, random_state=1).as_matrix()
    states = generator.integers(0, 2, COUNT)
    frames = Rotation.random(2, random_state=2).as_matrix()[states]
    axis = generator.normal(size=3)
    axis /= np.linalg.norm(axis)
    turns = 2 * np.pi / order * generator.integers(0, order, COUNT)
    turned = Rotation.from_rotvec(turns[:, None] * axis).as_matrix()
    noise = Rotation.from_rotvec(np.radians(NOISE_DEG) * generator.normal(size=(COUNT, 3)))
    found = noise.as_matrix() @ true @ turned @ frames
    wrong = generator.random(COUNT) < 0.2
    found[wrong] = Rotation.random(int(wrong.sum()), random_state=3).as_matrix()
    found = found if hand == 1 else FLIP @ found
    left = within_state_error_modulo_turns_deg(found, true, states, hand, order)
    assert np.median(left[~wrong]) == pytest.approx(np.degrees(np.median(noise.magnitude())), rel=0.05)
    assert np.median(left[wrong]) > 60
    assert np.median(within_state_error_deg(found, true, states, hand)[~wrong]) > 20


def test_poses_at_random_are_no_turns() -> None:
    true, found = (Rotation.random(COUNT, random_state=seed).as_matrix() for seed in (1, 2))
    left = within_state_error_modulo_turns_deg(found, true, np.zeros(COUNT, int), 1, 3)
    assert np.median(left) > 60


def test_an_order_of_one_is_a_sentence() -> None:
    true = Rotation.random(5, random_state=1).as_matrix()
    with pytest.raises(InputError, match="order 1 is none"):
        within_state_error_modulo_turns_deg(true, true, np.zeros(5, int), 1, 1)

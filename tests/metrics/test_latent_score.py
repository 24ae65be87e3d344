import numpy as np
import pytest

from nunatak.core.errors import InputError
from nunatak.metrics.latent_score import majority, score_latents

GENERATOR = np.random.default_rng(0)
DIRECTIONS = GENERATOR.normal(size=(300, 3))
DIRECTIONS /= np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)


def test_latents_that_know_the_motion_score_high():
    coordinates = np.linspace(-1, 1, 20)
    labels = GENERATOR.integers(0, 20, 300)
    score = score_latents(coordinates[labels][:, None], labels, coordinates, DIRECTIONS)
    assert score.knn > 0.98
    assert score.ari is None
    assert score.pose_leak < 0.05


def test_latents_of_noise_score_nothing():
    coordinates = np.linspace(-1, 1, 20)
    score = score_latents(
        GENERATOR.normal(size=(300, 2)), GENERATOR.integers(0, 20, 300), coordinates, DIRECTIONS
    )
    assert abs(score.knn) < 0.2


def test_constant_latents_score_without_a_warning():
    labels = GENERATOR.integers(0, 20, 300)
    score = score_latents(np.zeros((300, 2)), labels, np.linspace(-1, 1, 20), DIRECTIONS)
    assert abs(score.knn) < 0.3


def test_separate_classes_are_found():
    labels = GENERATOR.integers(0, 3, 300)
    centres = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    latents = centres[labels] + GENERATOR.normal(size=(300, 2))
    score = score_latents(latents, labels, np.arange(3.0), DIRECTIONS)
    assert score.knn > 0.98
    assert score.ari > 0.98


def test_latents_that_hold_the_view_leak():
    labels = GENERATOR.integers(0, 3, 300)
    assert score_latents(DIRECTIONS, labels, np.arange(3.0), DIRECTIONS).pose_leak > 0.7


def test_majority_takes_the_smaller_label_in_a_tie():
    assert majority(np.array([[2, 1, 1, 2], [0, 2, 2, 1]]), 3).tolist() == [1, 2]


def test_too_few_particles_are_refused():
    with pytest.raises(InputError, match="at least 10 particles"):
        score_latents(np.zeros((5, 1)), np.zeros(5, int), np.arange(2.0), np.zeros((5, 3)))

"""Free energies of states against a known occupancy."""

from __future__ import annotations

import numpy as np
import pytest

from nunatak.core.errors import InputError
from nunatak.metrics.landscape_score import (
    centres_of_states,
    in_one_direction,
    shares_along,
    shares_of_clusters,
    state_energies,
    tenths,
)


def test_energies_are_compared_where_there_are_particles() -> None:
    true = np.array([0.5, 0.0, 0.3, 0.004, 0.196])
    right = state_energies(true, true, 1000)
    assert right.rmse_kT == pytest.approx(0)
    assert right.compared.tolist() == [True, False, True, False, True]
    found = true * np.exp(-np.array([0.3, 9, -0.3, 5, 0.0]))
    assert state_energies(found / found.sum(), true, 1000).rmse_kT == pytest.approx(np.sqrt(0.18 / 3))
    assert np.isfinite(state_energies(np.array([1.0, 0, 0, 0, 0]), true, 1000).rmse_kT)


@pytest.mark.parametrize("direction", [1, -1])
def test_a_profile_is_shared_out_among_states(direction: int) -> None:
    """A density that falls along the path, a coordinate that runs either way and not evenly."""
    generator = np.random.default_rng(0)
    coordinates = np.linspace(-1, 1, 20)
    occupancy = np.exp(-coordinates)
    labels = generator.choice(20, 20000, p=occupancy / occupancy.sum())
    places = direction * (coordinates + 0.3 * coordinates**2)
    axis = np.linspace(-1.6, 1.6, 400)
    density, _ = np.histogram(places[labels] + generator.uniform(-0.01, 0.01, len(labels)), 400, (-1.6, 1.6))
    density = density / density.sum() / (axis[1] - axis[0])
    energies = state_energies(
        tenths(shares_along(axis, density, places)), tenths(np.bincount(labels) / len(labels)), len(labels)
    )
    assert energies.rmse_kT < 0.1


@pytest.mark.parametrize("states", [4, 20])
def test_states_are_where_their_measurements_say(states: int) -> None:
    """Errors of every particle's own shape, as large as the motion, and a tenth of the particles anywhere."""
    generator = np.random.default_rng(1)
    coordinates = np.linspace(-1, 1, states)
    truth = np.stack([np.sin(2 * coordinates), np.cos(2 * coordinates)], 1)
    labels = generator.integers(0, states, 8000)
    mixing = 0.3 * generator.normal(size=(8000, 2, 2))
    covariances = mixing @ mixing.swapaxes(1, 2) + 0.05 * np.eye(2)
    noise = np.einsum("nij,nj->ni", np.linalg.cholesky(covariances), generator.normal(size=(8000, 2)))
    positions = truth[labels] + noise
    wrong = generator.random(8000) < 0.1
    positions[wrong] = generator.normal(2, 2, (int(wrong.sum()), 2))
    found = centres_of_states(positions, covariances, labels, coordinates)
    assert np.sqrt(((found - truth) ** 2).sum(1).mean()) < 0.03
    plain = np.array([positions[labels == k].mean(0) for k in range(states)])
    assert np.sqrt(((plain - truth) ** 2).sum(1).mean()) > 0.2


def test_places_of_a_motion_run_one_way() -> None:
    rising = np.array([0.0, 2, 1, 3, 4, 5, 6, 7])
    assert in_one_direction(rising).tolist() == [0, 2, 2, 3, 4, 5, 6, 7]
    assert in_one_direction(-rising).tolist() == [0, -2, -2, -3, -4, -5, -6, -7]
    assert in_one_direction(rising[:4]).tolist() == [0, 2, 1, 3]


def test_clusters_stand_for_their_commonest_state() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    clusters = np.array([2, 2, 0, 0, 0, 1])
    assert shares_of_clusters(clusters, labels, 3) == pytest.approx([2 / 6, 3 / 6, 1 / 6])


def test_one_state_is_no_landscape() -> None:
    with pytest.raises(InputError):
        centres_of_states(np.zeros((5, 1)), np.ones((5, 1, 1)), np.zeros(5, int), np.array([0.0, 1.0]))

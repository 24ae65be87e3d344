"""Free energies of states against a known occupancy."""

from __future__ import annotations

import numpy as np
import pytest

from nunatak.core.errors import InputError
from nunatak.metrics.landscape_score import (
    places_of_states,
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
    positions = places[labels] + 0.05 * generator.normal(size=len(labels))
    found = places_of_states(positions, labels, coordinates)
    assert found == pytest.approx(places, abs=0.02)
    axis = np.linspace(-1.6, 1.6, 400)
    density, _ = np.histogram(places[labels] + generator.uniform(-0.01, 0.01, len(labels)), 400, (-1.6, 1.6))
    density = density / density.sum() / (axis[1] - axis[0])
    energies = state_energies(
        tenths(shares_along(axis, density, found)), tenths(np.bincount(labels) / len(labels)), len(labels)
    )
    assert energies.rmse_kT < 0.1


def test_clusters_stand_for_their_commonest_state() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    clusters = np.array([2, 2, 0, 0, 0, 1])
    assert shares_of_clusters(clusters, labels, 3) == pytest.approx([2 / 6, 3 / 6, 1 / 6])


def test_one_state_is_no_landscape() -> None:
    with pytest.raises(InputError):
        places_of_states(np.zeros(5), np.zeros(5, int), np.array([0.0, 1.0]))

"""A path through groups: states apart are all visited on the shortest way, motions are left to curves."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from synthetic_latents import Motion, posteriors

from nunatak.analysis.clusters import noise_mixture
from nunatak.analysis.dominant import dominant_curve
from nunatak.analysis.group_path import are_apart, path_through_groups, shortest_order
from nunatak.analysis.measurements import Measurements, without_prior
from nunatak.analysis.mixture import fit_noise_mixture
from nunatak.analysis.reaction import Curve, density_along_path
from nunatak.metrics.landscape_score import shares_along, state_energies

SHARES = np.array([0.35, 0.05, 0.2, 0.1, 0.1, 0.2])
# As a run has six assembly states of a ribosome, in units of its latents' errors.
STATES = np.array(
    [
        [-6.4, -2.3, -2.0, 0.6],
        [-7.0, -2.1, 4.4, 0.0],
        [-3.8, 6.9, -2.8, -0.8],
        [4.5, -7.0, -2.6, -0.5],
        [6.6, 1.9, 2.0, -3.0],
        [6.1, 2.6, 0.9, 3.7],
    ]
)


def composition(particles: int, spread: float = 0.0, seed: int = 0) -> tuple[Measurements, np.ndarray]:
    """Measurements of states that branch, with unit errors, and their labels; motion may blur the states."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(len(SHARES), particles, p=SHARES)
    moved = STATES[labels] + spread * generator.normal(size=(particles, 1)) * np.array([0.6, 0.0, 0.0, 0.8])
    positions = moved + np.sqrt(1.2) * generator.normal(size=(particles, 4))
    return Measurements(positions, np.broadcast_to(1.2 * np.eye(4), (particles, 4, 4))), labels


def test_the_shortest_order_is_the_shortest_of_all() -> None:
    places = np.random.default_rng(1).normal(size=(7, 3))

    def length(order: tuple[int, ...]) -> float:
        return float(np.linalg.norm(np.diff(places[list(order)], axis=0), axis=1).sum())

    found = tuple(shortest_order(places).tolist())
    assert sorted(found) == list(range(7))
    assert length(found) == pytest.approx(min(length(order) for order in permutations(range(7))))


def error_kT(curve: Curve, measured: Measurements, labels: np.ndarray) -> float:
    """Of the free energies of states by the density along a curve."""
    profile = density_along_path(measured, curve, np.random.default_rng(0), bootstraps=1)
    shares = shares_along(profile.axes[0], profile.density, curve.positions(STATES))
    return state_energies(shares, np.bincount(labels) / len(labels), len(labels)).rmse_kT


@pytest.mark.parametrize("seed", [0, 1])
def test_branching_states_are_all_on_the_path_and_keep_their_shares(seed: int) -> None:
    """Measured 0.04 and 0.003 kT; 0.38 and 0.57 along curves that follow an order of the particles."""
    measured, labels = composition(3000, seed=seed)
    groups = noise_mixture(measured.rows, len(measured), 0)
    found = dominant_curve(measured, measured.positions, lambda points: points, groups)
    assert found.agreement is None
    assert error_kT(found.curve, measured, labels) < 0.15


def test_states_that_move_are_no_points() -> None:
    measured, _ = composition(1500, spread=2.0)
    groups = fit_noise_mixture(measured, 6)
    assert not are_apart(measured, groups)
    assert path_through_groups(measured, groups) is None


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_a_motion_is_not_cut_into_states(noise: float) -> None:
    found = posteriors(Motion((1.0, 0.2, 0.8), bend=2.4), 1500, noise, 0)
    measured = without_prior(found.means, found.covariances)
    assert path_through_groups(measured, noise_mixture(measured.rows, 1500, 0)) is None


def test_two_groups_and_one_have_no_way_through_them() -> None:
    measured, labels = composition(1500)
    for states in (1, 2):
        some = measured.rows(np.flatnonzero(labels < states))
        assert path_through_groups(some, fit_noise_mixture(some, states)) is None

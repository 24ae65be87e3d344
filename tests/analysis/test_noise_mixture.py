"""Groups of measurements whose errors are known and differ."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import adjusted_rand_score

from nunatak.analysis.clusters import mixture_clusters, noise_mixture, noise_mixture_clusters
from nunatak.analysis.measurements import Measurements
from nunatak.analysis.mixture import fit_noise_mixture

PARTICLES = 3000
PLACES = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 2.6]])
SHARES = np.array([0.6, 0.3, 0.1])


def measurements(seed: int = 0) -> tuple[Measurements, np.ndarray]:
    """Three groups without width, some particles known well and others not; and each particle's group."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(3, PARTICLES, p=SHARES)
    spread = np.exp(0.7 * generator.normal(size=(PARTICLES, 2)))
    errors = spread * generator.normal(size=(PARTICLES, 2))
    covariances = np.zeros((PARTICLES, 2, 2))
    covariances[:, [0, 1], [0, 1]] = spread**2
    return Measurements(PLACES[labels] + errors, covariances), labels


def test_groups_are_counted_and_their_shares_found() -> None:
    measured, labels = measurements()
    mixture = noise_mixture(measured.rows, len(measured), 0)
    found, count = noise_mixture_clusters(measured.positions, measured.rows, mixture), len(mixture.weights)
    assert count == 3
    order = [int(np.bincount(labels[found.labels == k]).argmax()) for k in range(3)]
    assert sorted(order) == [0, 1, 2]
    truth = np.bincount(labels)[order] / PARTICLES
    assert np.abs(np.log(found.sizes / PARTICLES / truth)).max() < 0.25
    plain, _ = mixture_clusters(measured.positions, 3, 0)
    better, worse = (adjusted_rand_score(labels, one.labels) for one in (found, plain))
    assert better > worse + 0.05


def test_means_and_widths_are_those_without_errors() -> None:
    mixture = fit_noise_mixture(measurements(1)[0], 3)
    order = np.lexsort((mixture.means[:, 1], mixture.means[:, 0].round()))
    np.testing.assert_allclose(mixture.means[order], PLACES, atol=0.2)
    np.testing.assert_allclose(mixture.weights[order], SHARES, atol=0.04)
    assert np.linalg.eigvalsh(mixture.covariances).max() < 0.3

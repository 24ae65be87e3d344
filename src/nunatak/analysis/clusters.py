"""Groups of latents: k-means and Gaussian mixtures, with a particle that stands for each group."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from nunatak.analysis.measurements import Measurements
from nunatak.analysis.mixture import NoiseMixture, best_noise_mixture, fit_noise_mixture
from nunatak.analysis.sampling import spread_rows
from nunatak.core.errors import require

FITTED = 50000
"""At most so many particles decide where the groups lie; all are assigned."""
MIXTURE_FITTED, NOISE_MIXTURE_FITTED = 20000, 3000
MOST_COMPONENTS = 8


@dataclass(frozen=True, eq=False)
class Clusters:
    """Groups of n particles, ordered along the first coordinate.

    Attributes
    ----------
    labels : (n,) int32
    centres : (k, q) float64
    sizes : (k,) int64
    representatives : (k,) int64
        Row of the particle nearest to each centre: a centre may lie where there are no particles.
    """

    labels: NDArray[np.int32]
    centres: NDArray[np.float64]
    sizes: NDArray[np.int64]
    representatives: NDArray[np.int64]


def kmeans_clusters(coordinates: NDArray, count: int, seed: int) -> Clusters:
    """k-means of (n, q) coordinates; fitted on an even subsample where there are many.

    Raises
    ------
    InputError
        There are fewer particles than clusters.
    """
    require(0 < count <= len(coordinates), f"{count} clusters of {len(coordinates)} latents cannot be made.")
    rows = spread_rows(len(coordinates), max(FITTED, count))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters
        fitted = KMeans(count, n_init=4, random_state=seed).fit(coordinates[rows])
    return _gathered(coordinates, fitted.predict(coordinates), fitted.cluster_centers_)


def mixture_clusters(coordinates: NDArray, count: int, seed: int) -> tuple[Clusters, int]:
    """Gaussian mixture of (n, q) coordinates; the clusters, and how many components were fitted.

    Parameters
    ----------
    count : int
        Components; 0 chooses by the Bayesian information criterion (Schwarz 1978) among one to eight.
    """
    rows = spread_rows(len(coordinates), MIXTURE_FITTED)
    sample = coordinates[rows]
    most = max(1, min(MOST_COMPONENTS, len(sample) // 20))
    counts = [min(count, len(sample))] if count else range(1, most + 1)
    fitted = [_mixture(sample, k, seed) for k in counts]
    chosen = fitted[0] if count else min(fitted, key=lambda mixture: float(mixture.bic(sample)))
    labels = np.concatenate([chosen.predict(part) for part in _parts(coordinates)])
    return _gathered(coordinates, labels, chosen.means_), len(chosen.means_)


def noise_mixture(measured: Callable[[NDArray], Measurements], particles: int, count: int) -> NoiseMixture:
    """As the mixture of mixture_clusters, of measurements whose errors are known and taken out.

    Parameters
    ----------
    measured : function of rows
        The measurements of some of so many particles.
    """
    sample = measured(spread_rows(particles, NOISE_MIXTURE_FITTED))
    if count:
        return fit_noise_mixture(sample, min(count, len(sample)))
    return best_noise_mixture(sample, max(1, min(MOST_COMPONENTS, len(sample) // 20)))


def noise_mixture_clusters(
    coordinates: NDArray, measured: Callable[[NDArray], Measurements], mixture: NoiseMixture
) -> Clusters:
    """Every particle in its most probable group.

    Parameters
    ----------
    coordinates : (n, d)
        In which a group is represented by the particle nearest to the mean of its members.
    measured : function of rows
        Their measurements.
    """
    labels = np.concatenate([mixture.labels(measured(rows)) for rows in _parts(np.arange(len(coordinates)))])
    there, labels = np.unique(labels, return_inverse=True)
    centres = np.stack([coordinates[labels == k].mean(0) for k in range(len(there))])
    return _gathered(coordinates, labels, centres)


def _mixture(sample: NDArray, count: int, seed: int) -> GaussianMixture:
    ridge = 1e-6 * max(float(sample.var()), 1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(count, random_state=seed, reg_covar=ridge).fit(sample)


def _gathered(coordinates: NDArray, labels: NDArray, centres: NDArray) -> Clusters:
    """Sorted along the first coordinate, so that equal runs give equal numbers."""
    order = np.argsort(centres[:, 0], kind="stable")
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order))
    labels, centres = rank[labels], np.asarray(centres, np.float64)[order]
    nearest = np.array([_nearest(coordinates, labels, k, centre) for k, centre in enumerate(centres)])
    return Clusters(labels, centres, np.bincount(labels, minlength=len(centres)), nearest)


def _nearest(coordinates: NDArray, labels: NDArray, cluster: int, centre: NDArray) -> int:
    """The member nearest to a centre; any particle where the cluster is empty."""
    members = np.flatnonzero(labels == cluster)
    rows = members if len(members) else np.arange(len(coordinates))
    return int(rows[np.argmin(((coordinates[rows] - centre) ** 2).sum(1))])


def _parts(coordinates: NDArray) -> list[NDArray]:
    return np.array_split(coordinates, max(1, len(coordinates) // 50000))

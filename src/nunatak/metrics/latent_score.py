"""What the latents know: of the true conformation, and (which they should not) of the viewing direction."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import KFold
from sklearn.neighbors import NearestNeighbors

from nunatak.core.errors import require

NEIGHBOURS = 20
FOLDS = 5
FOLD_SEED = 0
MIXTURE_STARTS = 5


@dataclass(frozen=True)
class LatentScore:
    """How well the neighbours in latent space predict.

    Attributes
    ----------
    knn : float
        Continuous motion: correlation of the predicted with the true coordinate. Discrete states: accuracy.
    pose_leak : float
        R2 of the viewing direction predicted from the latent; 0 is no leak.
    ari : float or None
        Discrete states: adjusted Rand index of a Gaussian mixture with the true number of states.
    """

    knn: float
    pose_leak: float
    ari: float | None


def score_latents(
    latents: NDArray, labels: NDArray, coordinates: NDArray, directions: NDArray
) -> LatentScore:
    """Score latents by 20 nearest neighbours in 5-fold cross-validation.

    Parameters
    ----------
    latents : (n, q)
    labels : (n,) int
        True state of each particle.
    coordinates : (states,) float
        Reaction coordinate of each state; steps below 1 mean a continuous motion.
    directions : (n, 3) float
        True viewing directions.

    Raises
    ------
    InputError
        With fewer than 10 particles.
    """
    require(len(latents) >= 10, f"Scoring latents needs at least 10 particles, but there are {len(latents)}.")
    scaled = standardised(latents)
    continuous = is_continuous(coordinates)
    predicted = np.zeros(len(scaled))
    predicted_direction = np.zeros((len(scaled), 3))
    for held_out, neighbours in neighbour_folds(scaled):
        predicted_direction[held_out] = directions[neighbours].mean(1)
        if continuous:
            predicted[held_out] = coordinates[labels[neighbours]].mean(1)
        else:
            predicted[held_out] = majority(labels[neighbours], len(coordinates))
    knn = correlation(predicted, coordinates[labels]) if continuous else float((predicted == labels).mean())
    ari = None if continuous else mixture_agreement(scaled, labels)
    return LatentScore(knn, explained_fraction(predicted_direction, directions), ari)


def is_continuous(coordinates: NDArray) -> bool:
    """Whether the states sample one motion (steps below 1) and are not classes numbered 0, 1, 2 ..."""
    return bool(np.any(np.diff(coordinates) < 0.99))


def standardised(latents: NDArray) -> NDArray[np.float64]:
    """(n, q) centred latents, divided by the largest component's deviation: their shape is kept."""
    flat = np.asarray(latents, np.float64).reshape(len(latents), -1)
    return (flat - flat.mean(0)) / (flat.std(0).max() + 1e-12)


def neighbour_folds(latents: NDArray) -> Iterator[tuple[NDArray, NDArray]]:
    """Yield (held-out rows, (rows, k) indices of their nearest neighbours among the other folds)."""
    folds = KFold(FOLDS, shuffle=True, random_state=FOLD_SEED)
    for kept, held_out in folds.split(latents):
        search = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(kept))).fit(latents[kept])
        yield held_out, kept[search.kneighbors(latents[held_out], return_distance=False)]


def majority(labels: NDArray, states: int) -> NDArray[np.int64]:
    """(n,) most frequent label of each row of (n, k); the smaller one in a tie."""
    counts = (labels[:, :, None] == np.arange(states)).sum(1)
    return counts.argmax(1)


def mixture_agreement(latents: NDArray, labels: NDArray) -> float:
    """Adjusted Rand index of the labels and a Gaussian mixture with as many components."""
    mixture = GaussianMixture(len(np.unique(labels)), n_init=MIXTURE_STARTS, random_state=0)
    with warnings.catch_warnings():
        # A mixture that has not settled scores low, which is what the figure is for.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float(adjusted_rand_score(labels, mixture.fit_predict(latents)))


def correlation(first: NDArray, second: NDArray) -> float:
    """Pearson correlation; 0 when either is constant."""
    spread = np.std(first) * np.std(second)
    return float(np.mean((first - first.mean()) * (second - second.mean())) / spread) if spread > 0 else 0.0


def explained_fraction(predicted: NDArray, true: NDArray) -> float:
    """R2: 1 - squared error over the variance about the mean."""
    return float(1 - ((true - predicted) ** 2).sum() / ((true - true.mean(0)) ** 2).sum())

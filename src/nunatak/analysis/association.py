"""How latents and clusters go with columns from elsewhere: published classes, a coordinate, the defocus."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score
from sklearn.model_selection import KFold
from sklearn.neighbors import NearestNeighbors

from nunatak.analysis.sampling import spread_rows

SAMPLE = 20000
"""At most so many particles are compared."""
NEIGHBOURS = 20
_FOLDS, _MOST_CLASSES = 5, 60


@dataclass(frozen=True)
class Association:
    """Agreement of a column with the latents.

    Attributes
    ----------
    name : str
    kind : str
        "classes" or "number".
    particles : int
        That were compared.
    classes : int
        Distinct values; 0 for a number.
    knn : float
        Classes: accuracy of the majority of 20 nearest neighbours, in cross-validation. Numbers: correlation
        with their mean.
    chance : float
        What `knn` would be without any association.
    ari, ami : float or None
        Classes only: adjusted Rand index and adjusted mutual information with the clusters.
    correlation : float
        Numbers only: Spearman's with the coordinate that goes with it best; 0 for classes.
    component : int
        That coordinate.
    """

    name: str
    kind: str
    particles: int
    classes: int
    knn: float
    chance: float
    ari: float | None
    ami: float | None
    correlation: float
    component: int


def associate(
    name: str, values: NDArray, coordinates: NDArray, clusters: NDArray, seed: int
) -> Association | None:
    """Compare a column of (n,) values with (n, q) coordinates and (n,) clusters; None where it is constant.

    Text and whole numbers of few values are classes, others numbers. Rows without a value are left out.
    """
    values = np.asarray(values)
    known = np.isfinite(values.astype(float)) if values.dtype.kind in "fiub" else np.ones(len(values), bool)
    rows = np.flatnonzero(known)
    rows = rows[spread_rows(len(rows), SAMPLE)] if len(rows) else rows
    values, coordinates, clusters = values[rows], coordinates[rows], clusters[rows]
    distinct, labels = np.unique(values, return_inverse=True)
    if len(distinct) < 2 or len(rows) < 2 * NEIGHBOURS:
        return None
    if are_classes(values, len(distinct)):
        return _with_classes(name, labels, coordinates, clusters, seed)
    if values.dtype.kind not in "fiub":
        return None
    return _with_numbers(name, values.astype(float), coordinates, seed)


def are_classes(values: NDArray, distinct: int) -> bool:
    """Whether a column holds classes: text, or whole numbers, of few values."""
    few = distinct <= _MOST_CLASSES
    whole = values.dtype.kind in "iub" or (
        values.dtype.kind == "f" and bool((values == values.round()).all())
    )
    return few and (whole or values.dtype.kind not in "fiub")


def _with_classes(
    name: str, labels: NDArray, coordinates: NDArray, clusters: NDArray, seed: int
) -> Association:
    count = int(labels.max()) + 1
    predicted = np.empty(len(labels), np.int64)
    for held_out, near in _neighbours(coordinates, seed):
        votes = np.stack([(labels[near] == k).sum(1) for k in range(count)], 1)
        predicted[held_out] = votes.argmax(1)
    return Association(
        name,
        "classes",
        len(labels),
        count,
        float((predicted == labels).mean()),
        float(np.bincount(labels).max() / len(labels)),
        float(adjusted_rand_score(labels, clusters)),
        float(adjusted_mutual_info_score(labels, clusters)),
        0.0,
        0,
    )


def _with_numbers(name: str, values: NDArray, coordinates: NDArray, seed: int) -> Association:
    predicted = np.empty(len(values))
    for held_out, near in _neighbours(coordinates, seed):
        predicted[held_out] = values[near].mean(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a coordinate that is constant has no correlation
        ranked = [float(np.nan_to_num(spearmanr(values, column).statistic)) for column in coordinates.T]
    best = int(np.argmax(np.abs(ranked)))
    spread = predicted.std() * values.std()
    knn = (
        float(((predicted - predicted.mean()) * (values - values.mean())).mean() / spread)
        if spread > 0
        else 0.0
    )
    return Association(name, "number", len(values), 0, knn, 0.0, None, None, ranked[best], best)


def _neighbours(coordinates: NDArray, seed: int):
    """Yield held-out rows and their nearest neighbours among the others, fold by fold."""
    for kept, held_out in KFold(_FOLDS, shuffle=True, random_state=seed).split(coordinates):
        search = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(kept))).fit(coordinates[kept])
        yield held_out, kept[search.kneighbors(coordinates[held_out], return_distance=False)]

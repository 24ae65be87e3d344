"""UMAP of latents: a picture of neighbourhoods in the plane (McInnes, Healy & Melville 2018)."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from nunatak.analysis.sampling import spread_rows

FITTED = 20000
"""At most so many particles are laid out; the others are put between their nearest ones."""
_PLACED_BY = 5


def umap_embedding(
    coordinates: NDArray, seed: int, neighbours: int = 15, fitted: int = FITTED
) -> NDArray[np.float32]:
    """(n, 2) embedding of (n, q) coordinates, best in units of noise (analysis.coordinates).

    Where there are more than `fitted` rows, an even subsample is laid out, and every other row is placed at
    the mean of its five nearest laid-out ones, weighted by inverse distance.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of its own threads and dependencies
        from umap import UMAP

        rows = spread_rows(len(coordinates), fitted)
        laid = coordinates[rows].astype(np.float32)
        reducer = UMAP(
            n_neighbors=min(neighbours, len(rows) - 1),
            random_state=seed,
            n_jobs=1,
            init="pca" if laid.shape[1] > 1 else "random",
        )
        embedded = np.asarray(reducer.fit_transform(laid), np.float32)
    if len(rows) == len(coordinates):
        return embedded
    search = NearestNeighbors(n_neighbors=_PLACED_BY).fit(laid)
    result = np.empty((len(coordinates), 2), np.float32)
    for part in np.array_split(np.arange(len(coordinates)), max(1, len(coordinates) // 50000)):
        distance, near = search.kneighbors(coordinates[part].astype(np.float32))
        weight = 1 / (distance + 1e-6)
        result[part] = (embedded[near] * weight[..., None]).sum(1) / weight.sum(1, keepdims=True)
    result[rows] = embedded
    return result

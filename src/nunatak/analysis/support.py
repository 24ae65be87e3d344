"""Do particles show what a path shows? Support of points in the space of latents."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2
from sklearn.neighbors import NearestNeighbors

from nunatak.analysis.sampling import spread_rows

CONTENT = 0.5
"""A particle speaks for the points inside this content of its posterior."""
WEAK = 0.1
"""Below it a point of a path is one that (nearly) no particle shows."""
_PARTICLES, _REFERENCES = 50000, 500


def point_support(points: NDArray, positions: NDArray, covariances: NDArray) -> NDArray[np.float64]:
    """(m,) support of points: how many particles could lie there, against a typical particle's own place.

    A particle counts at a point that lies inside the half of its posterior with the highest density. The
    count is divided by its median over the particles' own positions, so support is about 1 where particles
    are, and falls in gaps as fast as the posteriors' widths allow.

    Parameters
    ----------
    points : (m, d)
    positions : (n, d)
        Posterior means.
    covariances : (n, d, d)
    """
    rows = spread_rows(len(positions), _PARTICLES)
    positions, precisions = positions[rows], np.linalg.inv(covariances[rows])
    typical = positions[spread_rows(len(positions), _REFERENCES)]
    reference = np.median(_counts(typical, positions, precisions))
    return _counts(points, positions, precisions) / max(float(reference), 1.0)


def neighbour_covariances(positions: NDArray, neighbours: int = 20) -> NDArray[np.float64]:
    """(n, d, d) round covariances for latents without any: squared distance to the 20th neighbour."""
    sample = positions[spread_rows(len(positions), 20000)]
    count = min(neighbours, len(sample) - 1)
    distance, _ = (
        NearestNeighbors(n_neighbors=count + 1).fit(sample).kneighbors(sample[:: max(1, len(sample) // 2000)])
    )
    width = max(float(np.median(distance[:, -1])), 1e-9)
    return np.broadcast_to(
        np.eye(positions.shape[1]) * width**2, (len(positions),) + (positions.shape[1],) * 2
    )


def support_warning(name: str, support: NDArray) -> str | None:
    """A sentence where a path leads through what no particle shows; None where it does not."""
    weak = np.flatnonzero(np.asarray(support) < WEAK)
    if not len(weak):
        return None
    return (
        f"The {name} path is not supported by the data at {len(weak)} of {len(support)} points (support "
        f"falls to {float(np.min(support)):.2g}, 1 is typical): maps there show what no particle shows."
    )


def _counts(points: NDArray, positions: NDArray, precisions: NDArray) -> NDArray[np.int64]:
    reach = chi2.ppf(CONTENT, positions.shape[1])
    counts = np.empty(len(points), np.int64)
    for row, point in enumerate(points):
        away = point - positions
        counts[row] = int((np.einsum("ni,nij,nj->n", away, precisions, away) < reach).sum())
    return counts

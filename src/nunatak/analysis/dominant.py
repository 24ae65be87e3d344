"""The dominant path: a curve along the order of the particles that many beginnings agree on.

A motion bends in the space of latents, often more than once, so that it is neither a component nor the
shortest way. Several draws of the particles are each put in order in several ways. Where noise is large
against the motion some of the orders take its parts wrongly, and the curves along them are as likely as the
right one, but each is wrong in a way of its own: the mean of the orders that agree is better than any.

States that lie apart are no motion: then the path is the shortest way through them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from nunatak.analysis.deconvolution import gaussian_likelihood
from nunatak.analysis.group_path import path_through_groups
from nunatak.analysis.measurements import Measurements
from nunatak.analysis.mixture import NoiseMixture
from nunatak.analysis.paths import farthest_ends, graph_path, slow_coordinate, smoothed
from nunatak.analysis.reaction import Curve, curve_of, density_along_path, refined_curve
from nunatak.analysis.sampling import spread_rows

Unshrunk = Callable[[NDArray], NDArray]

DRAWS, DRAWN, LEAST_DRAWN, MOST_DRAWN = 3, 0.6, 200, 4000
"""So many draws, each of such a part of the particles, at most so many; of few there is one draw, of all."""
ALIKE = 0.8
"""Orders whose rank correlation with the one that most agree with is larger make the mean order."""
NODES, ORDERED = 1000, 8000
"""At most so many particles are places a particle may come from, and have a mean order."""
BINS, WAY_POINTS = 30, 40
"""Pieces of equal number into which ordered particles are cut: a first curve goes through their means; and
points of a first curve that is a way over the graph."""
COARSE, FINE = 0.03, 0.02
"""Smoothing of a curve in every step of its refinement, as a part of its length: of those that put particles
in order, and of the last. Curves that may bend more finely are likelier, by following the noise."""
OUTSIDE = 0.01
"""Part of the particles before the beginning of the path, and after its end."""
_FIRST_STEPS, _STEPS, _NODE_STEPS = 8, 20, 60


@dataclass(frozen=True, eq=False)
class DominantCurve:
    """A curve, and how far the beginnings agree on the order of the particles.

    Attributes
    ----------
    curve : Curve
    agreement : float
        Mean of the rank correlations, whichever way a curve runs, of the order that most agree with and the
        others: 1 if all agree, near 0 if every beginning gives another order. None of a way through groups.
    """

    curve: Curve
    agreement: float | None


def dominant_curve(
    measured: Measurements,
    means: NDArray,
    unshrunk: Unshrunk,
    groups: NoiseMixture | None = None,
    seed: int = 0,
) -> DominantCurve:
    """The principal curve that begins with the mean of the orders that agree; or the way through groups.

    Parameters
    ----------
    measured : Measurements
        (n, d), without the prior.
    means : (n, d)
        Posterior means of the same particles: they scatter less, and ways over their graph are better.
    unshrunk : callable
        Takes (m, d) points among posterior means to where particles of typical noise would truly be.
    groups : NoiseMixture, optional
        Of the measurements; followed where they lie apart.
    seed : int
        Of the draws.
    """
    noise = float(np.sqrt(np.median(np.linalg.eigvalsh(measured.covariances)[:, 0])))
    some = measured.rows(spread_rows(len(measured), ORDERED))
    centres = None if groups is None else path_through_groups(some, groups)
    if centres is not None:
        return DominantCurve(curve_of(centres, noise), None)

    def refined(points: NDArray, steps: int, smoothing: float) -> Curve:
        return refined_curve(some, curve_of(points, noise), steps, smoothing)

    found = [refined(points, _FIRST_STEPS, COARSE) for points in _beginnings(measured, means, unshrunk, seed)]
    order, agreement = agreed_order([curve.positions(some.positions) for curve in found])
    curve = refined(_through_bins(order, some.positions), _STEPS, FINE)
    density = density_along_path(some, curve, np.random.default_rng(seed), bootstraps=1).density
    return DominantCurve(curve.trimmed(density, OUTSIDE), agreement)


def agreed_order(places: list[NDArray]) -> tuple[NDArray[np.float64], float]:
    """(n,) mean of the ranks along curves that agree, each turned the same way; and how far all agree.

    Parameters
    ----------
    places : list of (n,)
        Of the same particles along each curve.
    """
    ranks = np.array([rankdata(along) for along in places])
    with np.errstate(invalid="ignore"):  # where all particles lie in one place nothing has an order
        alike = np.nan_to_num(np.atleast_2d(np.corrcoef(ranks)))
    np.fill_diagonal(alike, 1.0)
    # The first of equals to rounding, so that machines agree.
    best = int(np.argmax(np.abs(alike).sum(1).round(9)))
    agree = np.abs(alike[best]) > ALIKE
    turned = ranks[agree] * np.sign(alike[best, agree])[:, None]
    others = np.delete(np.abs(alike[best]), best)
    return turned.mean(0), float(others.mean()) if len(others) else 1.0


def _beginnings(
    measured: Measurements, means: NDArray, unshrunk: Unshrunk, seed: int
) -> Iterator[NDArray[np.float64]]:
    """(m, d) first paths: in the order of a random walk's slowest coordinate, and over the graph."""
    generator = np.random.default_rng(seed)
    few = len(measured) < LEAST_DRAWN
    count = len(measured) if few else min(MOST_DRAWN, int(DRAWN * len(measured)))
    for _ in range(1 if few else DRAWS):
        rows = np.sort(generator.choice(len(measured), count, replace=False))
        drawn = measured.rows(rows)
        without_errors = _denoised(drawn)
        for places in (drawn.positions, without_errors):
            yield _through_bins(slow_coordinate(places), drawn.positions)
        yield unshrunk(_way(np.asarray(means)[rows]))
        yield _way(without_errors)


def _way(places: NDArray) -> NDArray[np.float64]:
    """(m, d) way over the graph of (n, d) places, from one end of the motion to the other."""
    return graph_path(places, *farthest_ends(places), WAY_POINTS)


def _through_bins(order: NDArray, positions: NDArray) -> NDArray[np.float64]:
    """(bins, d) smoothed means of particles in order, in bins of equal number."""
    bins = np.array_split(np.argsort(order, kind="stable"), max(2, min(BINS, len(order) // 4)))
    return smoothed(np.array([positions[rows].mean(0) for rows in bins]), 0.03)


def _denoised(measured: Measurements) -> NDArray[np.float64]:
    """(n, d) posterior means under the density that makes the measurements most likely.

    That density has its mass at some of the measurements' own places (Kiefer & Wolfowitz 1956), since a grid
    in several dimensions would have too many cells; its posterior means are those of empirical Bayes
    (Robbins 1956), which draw particles to where others are.
    """
    nodes = measured.positions[spread_rows(len(measured), NODES)]
    likelihood = gaussian_likelihood(measured, nodes)
    weights = np.full(len(nodes), 1 / len(nodes), np.float32)
    for _ in range(_NODE_STEPS):
        weights *= likelihood.T @ (1 / np.maximum(likelihood @ weights, 1e-30)) / np.float32(len(measured))
    shares = likelihood * weights
    shares /= np.maximum(shares.sum(1, keepdims=True), 1e-30)
    return np.asarray(shares @ nodes.astype(np.float32), np.float64)

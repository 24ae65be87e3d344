"""The dominant path: the one curve that explains the measurements best, found from several beginnings.

A motion bends in the space of latents, often more than once, so that it is neither a component nor the
shortest way. Beginnings order the particles by the slowest coordinate of a random walk among them, as they
are and with their errors taken out; each is refined as a principal curve, and likelihood decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nunatak.analysis.deconvolution import gaussian_likelihood
from nunatak.analysis.measurements import Measurements
from nunatak.analysis.paths import slow_coordinate, smoothed
from nunatak.analysis.reaction import Curve, curve_log_likelihood, curve_of, refined_curve
from nunatak.analysis.sampling import spread_rows

ORDERED, NODES, JUDGED = 8000, 1000, 3000
"""At most so many particles are ordered, are places a particle may come from, and judge a curve."""
BINS = 30
"""Pieces of equal number into which the ordered particles are cut: a first curve goes through their means."""
FINE, COARSE = 0.01, 0.03
"""Smoothing of a curve in every step of its refinement, as parts of its length."""
_STEPS, _NODE_STEPS = 8, 60


def dominant_curve(measured: Measurements, noise: float, others: Sequence[NDArray] = ()) -> Curve:
    """The curve on which the measurements are most likely, their errors taken into account.

    Parameters
    ----------
    measured : Measurements
        (n, d), without the prior.
    noise : float
        Of a typical measurement.
    others : sequence of (m, d)
        More paths to begin from.
    """
    rows = spread_rows(len(measured), ORDERED)
    some = measured.rows(rows)
    without_errors = _denoised(some)
    begun = [
        _through_bins(slow_coordinate(places), some.positions) for places in (some.positions, without_errors)
    ]
    judges = measured.rows(spread_rows(len(measured), JUDGED))
    found = [curve for points in (*begun, *others) for curve in _refinements(some, curve_of(points, noise))]
    return max(found, key=lambda curve: curve_log_likelihood(judges, curve))


def _refinements(measured: Measurements, curve: Curve) -> tuple[Curve, Curve]:
    """A curve refined coarsely, and finely from there: of noisy data the coarse one may be the better."""
    coarse = refined_curve(measured, curve, _STEPS, COARSE)
    return coarse, refined_curve(measured, coarse, _STEPS, FINE)


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

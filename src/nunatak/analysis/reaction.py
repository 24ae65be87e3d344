"""Density and free energy along a curved path: the path is the axis of the deconvolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nunatak.analysis.deconvolution import (
    BOOTSTRAPS,
    Density,
    deconvolved_density,
    log_densities,
)
from nunatak.analysis.measurements import Measurements
from nunatak.analysis.paths import arc_lengths, extended, projected_on_path, resampled, smoothed
from nunatak.analysis.sampling import spread_rows

CELLS = 80
ASTRAY = 0.1
"""Share of the particles that a curve need not explain: poses can be wrong."""
_PART, _REFINED_BY = 4000, 4000


@dataclass(frozen=True, eq=False)
class Curve:
    """A path as the axis of a density.

    Attributes
    ----------
    points : (cells, d) float64
        Cell centres, prolonged beyond the ends of the path that it came from.
    begins : float
        Distance from the first cell at which the path itself begins.
    length : float
        Of the path itself.
    """

    points: NDArray[np.float64]
    begins: float
    length: float

    @property
    def axis(self) -> NDArray[np.float64]:
        """(cells,) distance of each cell from where the path begins."""
        whole = arc_lengths(self.points)[-1]
        return np.linspace(0, whole, len(self.points)) - self.begins

    @property
    def within(self) -> NDArray[np.float64]:
        """(m, d) cells from where the path begins to where it ends."""
        first, last = _ends_of(self)
        return self.points[first : max(last, first + 1) + 1]

    def turned_round(self) -> Curve:
        """The same curve from its other end."""
        after = float(arc_lengths(self.points)[-1]) - self.begins - self.length
        return Curve(self.points[::-1], max(after, 0.0), self.length)

    def trimmed(self, density: NDArray, outside: float) -> Curve:
        """The same curve, its path without a part `outside` of the (cells,) density at either end."""
        below = np.cumsum(density) / np.sum(density)
        first, last = np.interp([outside, 1 - outside], below, self.axis) + self.begins
        return Curve(self.points, float(first), float(max(last - first, 1e-9)))

    def positions(self, points: NDArray) -> NDArray[np.float64]:
        """(n,) where along the curve (n, d) points are nearest to it, counted from the path's beginning."""
        return projected_on_path(points, self.points)[0] - self.begins


def curve_of(points: NDArray, noise: float, cells: int = CELLS) -> Curve:
    """The curve of a (m, d) path, prolonged straight at both ends so that particles beyond do not pile up."""
    length = float(arc_lengths(points)[-1])
    beyond = 0.2 * length + 2 * min(noise, length)
    curve = resampled(extended(resampled(points, max(len(points), 40)), beyond), cells)
    return Curve(curve, beyond, length)


def refined_curve(
    measured: Measurements, curve: Curve, iterations: int = 12, smoothing: float = 0.04
) -> Curve:
    """The curve moved to where the measurements, errors taken into account, say that particles are.

    Expectation maximisation of a mixture whose centres lie on a curve (Tibshirani 1992, Stat. Comput. 2,
    183), with each measurement's own covariance; centres are smoothed along the curve after every step.

    Parameters
    ----------
    smoothing : float
        Width of that, as a part of the curve's length.
    """
    rows = spread_rows(len(measured), _REFINED_BY)
    sample = measured.rows(rows)
    precisions = np.linalg.inv(sample.covariances)
    weighted = np.einsum("nij,nj->ni", precisions, sample.positions)
    points = curve.points
    typical = precisions.mean(0)
    for _ in range(iterations):
        likelihood, elsewhere = _against_background(sample, points)
        likelihood *= (1 - ASTRAY) / len(points)
        share = likelihood / (likelihood.sum(1) + ASTRAY * elsewhere)[:, None]
        # A cell that few particles reach stays where it was.
        hold = 5.0 * typical
        matrix = np.einsum("ng,nij->gij", share, precisions) + hold
        target = share.T @ weighted + points @ hold
        moved = np.linalg.solve(matrix, target[..., None])[..., 0]
        points = resampled(smoothed(moved, smoothing), len(points))
    begins, ends = (projected_on_path(curve.points[[k]], points)[0][0] for k in _ends_of(curve))
    return Curve(points, float(begins), float(max(ends - begins, 1e-9)))


def density_along_path(
    measured: Measurements, curve: Curve, generator: np.random.Generator, bootstraps: int = BOOTSTRAPS
) -> Density:
    """Deconvolved density of the particles along a curve, against the distance from where the path begins.

    Every cell of the curve is a place that a particle may come from; the likelihood of a measurement there is
    Gaussian in all dimensions, its covariance widened across the curve by how far the particles themselves
    scatter about it.

    Parameters
    ----------
    measured : Measurements
        (n, d), in the coordinates of the curve.
    """
    likelihood = _curve_likelihood(measured, curve.points, _scatter_across(measured, curve.points))
    along = curve.positions(measured.positions)
    tangents = _tangents(curve.points)[np.abs(along[:, None] - curve.axis).argmin(1)]
    variance = np.einsum("ni,nij,nj->n", tangents, measured.covariances, tangents)
    on_path = Measurements(along[:, None], variance[:, None, None])
    return deconvolved_density(on_path, (curve.axis,), generator, bootstraps, likelihood)


def _ends_of(curve: Curve) -> tuple[int, int]:
    """Cells at which the path itself begins and ends."""
    first = int(np.argmin(np.abs(curve.axis)))
    return first, int(np.argmin(np.abs(curve.axis - curve.length)))


def _tangents(points: NDArray) -> NDArray[np.float64]:
    tangents = np.gradient(points, axis=0)
    return tangents / np.maximum(np.linalg.norm(tangents, axis=1, keepdims=True), 1e-300)


def _against_background(measured: Measurements, points: NDArray) -> tuple[NDArray, NDArray]:
    """Densities of each measurement at each cell of a curve, and anywhere, up to one factor for each.

    Anywhere is a Gaussian of twice the measurements' own covariance.

    Returns
    -------
    (n, cells), (n,) float64
    """
    cost = _curve_cost(measured, points, _scatter_across(measured, points))
    away = measured.positions - measured.positions.mean(0)
    d = away.shape[1]
    spread = 2 * np.cov(away, rowvar=False).reshape(d, d) + 1e-12 * np.eye(d)
    broad = -0.5 * (
        np.einsum("ni,ij,nj->n", away, np.linalg.inv(spread), away) + np.linalg.slogdet(spread)[1]
    )
    highest = np.maximum(cost.max(1), broad)
    return np.exp(cost - highest[:, None]), np.exp(broad - highest)


def _curve_likelihood(measured: Measurements, curve: NDArray, scatter: float) -> NDArray[np.float32]:
    """(n, cells) likelihood of each measurement at each cell of a curve, the largest of a row being 1."""
    result = np.empty((len(measured), len(curve)), np.float32)
    for start in range(0, len(measured), _PART):
        part = slice(start, start + _PART)
        cost = _curve_cost(measured.rows(part), curve, scatter)
        result[part] = np.exp(cost - cost.max(1, keepdims=True))
    return result


def _curve_cost(measured: Measurements, curve: NDArray, scatter: float) -> NDArray[np.float64]:
    """(n, cells) log density of each measurement at each cell of a curve, up to one constant.

    Each covariance is widened by scatter * (I - t t^T), t being the curve's tangent at the cell. What differs
    from cell to cell is of rank one (Sherman & Morrison 1950), so that nothing is inverted for a pair.
    """
    if scatter == 0:
        return log_densities(measured, curve)
    dimensions = curve.shape[1]
    widened = Measurements(measured.positions, measured.covariances + scatter * np.eye(dimensions))
    precision = np.linalg.inv(widened.covariances)
    flat = precision.reshape(len(precision), -1)
    tangents = _tangents(curve)

    def of_pairs(right: NDArray) -> NDArray:
        return flat @ (tangents[:, :, None] * right[:, None, :]).reshape(len(curve), -1).T

    pull = np.einsum("nij,nj->ni", precision, measured.positions)
    along = pull @ tangents.T - of_pairs(curve)
    left = 1 - scatter * of_pairs(tangents)
    return log_densities(widened, curve) - 0.5 * (scatter * along**2 / left + np.log(left))


def _scatter_across(measured: Measurements, curve: NDArray) -> float:
    """Variance per direction across a curve that the measurements' own errors do not explain."""
    dimensions = curve.shape[1]
    if dimensions == 1:
        return 0.0
    _, distance = projected_on_path(measured.positions, curve)
    expected = np.trace(measured.covariances, axis1=1, axis2=2) * (dimensions - 1) / dimensions
    # Medians, because a few particles lie far from any one path.
    return max(0.0, float(np.median(distance**2) - np.median(expected))) / (dimensions - 1)

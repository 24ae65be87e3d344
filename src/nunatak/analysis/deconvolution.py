"""The density of latents with their measurement errors taken out, on a grid, with bootstrap errors.

The nonparametric maximum-likelihood density by expectation maximisation (Kiefer & Wolfowitz 1956; for one
error it is Richardson-Lucy), each step followed by a smoothing as wide as a fraction of the noise (EMS:
Silverman, Jones, Wilson & Nychka 1990, J. R. Stat. Soc. B 52, 271), which keeps noise from becoming peaks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from nunatak.analysis.measurements import Measurements

ITERATIONS, CHOOSING_ITERATIONS = 150, 60
"""Steps towards a density, and towards those among which its smoothing is chosen."""
BOOTSTRAPS = 24
SMOOTHINGS = (0.04, 0.08, 0.16, 0.32, 0.64)
"""Widths of the smoothing that are tried, in units of the typical noise; held-out likelihood chooses."""
LEAST_CELLS = 0.5
"""Narrowest smoothing, in cells of the grid."""
_FLOOR = 1e-300


@dataclass(frozen=True, eq=False)
class Density:
    """A density on a regular grid of one or two axes.

    Attributes
    ----------
    axes : tuple of (g,) float64
        Centres of the cells along each axis.
    density : (g,) or (g, h) float64
        Integrates to 1.
    raw : same shape
        Histogram of the positions as they are, for comparison.
    free_energy_kT : same shape
        -log(density) above its minimum.
    error_kT : same shape
        Standard deviation over bootstraps, and in quadrature how much twice the smoothing changes.
    smoothing : float
        In units of the typical noise.
    """

    axes: tuple[NDArray[np.float64], ...]
    density: NDArray[np.float64]
    raw: NDArray[np.float64]
    free_energy_kT: NDArray[np.float64]
    error_kT: NDArray[np.float64]
    smoothing: float


def deconvolved_density(
    measured: Measurements,
    axes: tuple[NDArray[np.float64], ...],
    generator: np.random.Generator,
    bootstraps: int = BOOTSTRAPS,
    likelihood: NDArray | None = None,
) -> Density:
    """Density of what was measured, on a grid, free energy and its bootstrap error.

    Parameters
    ----------
    measured : Measurements
        In as many dimensions as there are axes.
    axes : one or two (g,) arrays
        Equally spaced cell centres.
    likelihood : (n, cells), optional
        Where it is not that of points on the grid's axes: along a curve.
    """
    shape = tuple(map(len, axes))
    if likelihood is None:
        likelihood = gaussian_likelihood(measured, grid_points(axes))
    width_cells = _noise_cells(measured, axes)
    smoothing = _best_smoothing(likelihood, shape, width_cells, generator)
    widths = _widths(smoothing, width_cells)
    resamples = generator.poisson(1.0, (len(likelihood), bootstraps)).astype(np.float32)
    weights = np.concatenate([np.ones((len(likelihood), 1), np.float32), resamples], 1)
    masses = maximum_likelihood_masses(likelihood, weights, shape, widths)
    doubled = tuple(2 * width for width in widths)
    smoother = maximum_likelihood_masses(likelihood, weights[:, :1], shape, doubled)
    cell = float(np.prod([axis[1] - axis[0] for axis in axes]))
    energies = -np.log(np.maximum(np.concatenate([masses, smoother], 1), _FLOOR))
    # Each bootstrap's own zero is free: energies are compared at the same mean over the populated cells.
    populated = masses[:, 0] > 0.01 * masses[:, 0].max()
    energies = energies - energies[populated].mean(0)
    spread = energies[:, 1:-1].std(1) if bootstraps > 1 else np.zeros(len(masses))
    error = np.hypot(spread, energies[:, -1] - energies[:, 0])
    energy = energies[:, 0] - energies[:, 0].min()
    density = (masses[:, 0] / cell).reshape(shape)
    return Density(
        axes,
        density,
        _histogram(measured, axes),
        energy.reshape(shape),
        error.reshape(shape),
        smoothing,
    )


def grid_points(axes: tuple[NDArray, ...]) -> NDArray[np.float64]:
    """(cells, axes) points of a grid, the last axis fastest."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


def gaussian_likelihood(measured: Measurements, points: NDArray) -> NDArray[np.float32]:
    """(n, g) likelihood of each measurement at each of (g, d) points, the largest of a row being 1."""
    result = np.empty((len(measured), len(points)), np.float32)
    for part in np.array_split(np.arange(len(measured)), max(1, len(measured) * len(points) // 2_000_000)):
        cost = log_densities(measured.rows(part), points)
        result[part] = np.exp(cost - cost.max(1, keepdims=True))
    return result


def log_densities(measured: Measurements, points: NDArray) -> NDArray[np.float64]:
    """(n, g) log density of each measurement if it came from each of (g, d) points, up to one constant."""
    # The square is multiplied out, so that the sums over coordinates are matrix products.
    middle = measured.positions.mean(0)
    here, there = measured.positions - middle, np.asarray(points, np.float64) - middle
    precision = np.linalg.inv(measured.covariances)
    pull = np.einsum("nij,nj->ni", precision, here)
    own = (here * pull).sum(1) + np.linalg.slogdet(measured.covariances)[1]
    pairs = (there[:, :, None] * there[:, None, :]).reshape(len(there), -1)
    return -0.5 * (own[:, None] - 2 * pull @ there.T + precision.reshape(len(here), -1) @ pairs.T)


def maximum_likelihood_masses(
    likelihood: NDArray,
    weights: NDArray,
    shape: tuple[int, ...],
    widths_cells: tuple[float, ...],
    iterations: int = ITERATIONS,
) -> NDArray[np.float64]:
    """(cells, b) probabilities of the grid's cells, for each of b weightings of the measurements.

    Parameters
    ----------
    likelihood : (n, cells) float32
    weights : (n, b) float32
    shape : tuple of int
        Of the grid.
    widths_cells : tuple of float
        Width of the smoothing after each step, along each axis.
    """
    cells = likelihood.shape[1]
    masses = np.full((cells, weights.shape[1]), 1 / cells)
    share = weights / weights.sum(0)
    for _ in range(iterations):
        predicted = likelihood @ masses.astype(np.float32)
        masses = masses * (likelihood.T @ (share / np.maximum(predicted, 1e-30)))
        masses = _smoothed(masses, shape, widths_cells)
        masses /= masses.sum(0)
    return masses


def grid_axis(values: NDArray, noise: float, cells: int) -> NDArray[np.float64]:
    """(cells,) equally spaced centres that hold nearly all values and what their noise hides."""
    low, high = np.quantile(values, [0.001, 0.999])
    margin = max(2.5 * noise, 0.02 * (high - low), 1e-9)
    return np.linspace(low - margin, high + margin, cells)


def _smoothed(masses: NDArray, shape: tuple[int, ...], widths_cells: tuple[float, ...]) -> NDArray:
    cube = masses.reshape(*shape, -1)
    for axis, width in enumerate(widths_cells):
        if width > 0.05:
            cube = gaussian_filter1d(cube, width, axis=axis, mode="nearest", truncate=4)
    return cube.reshape(masses.shape)


def _noise_cells(measured: Measurements, axes: tuple[NDArray, ...]) -> tuple[float, ...]:
    """Typical noise along each axis in cells; the rule of Silverman (1986) where there is no noise."""
    widths = []
    for i, axis in enumerate(axes):
        noise = float(np.sqrt(np.median(measured.covariances[:, i, i])))
        rule = 1.06 * float(measured.positions[:, i].std()) * len(measured) ** (-1 / (4 + len(axes)))
        widths.append(max(noise, 0.5 * rule) / (axis[1] - axis[0]))
    return tuple(widths)


def _widths(smoothing: float, width_cells: tuple[float, ...]) -> tuple[float, ...]:
    """Widths in cells; a density that changes from cell to cell would only follow single measurements."""
    return tuple(max(smoothing * width, LEAST_CELLS) for width in width_cells)


def _best_smoothing(
    likelihood: NDArray,
    shape: tuple[int, ...],
    width_cells: tuple[float, ...],
    generator: np.random.Generator,
) -> float:
    """The smoothing under which each half of the measurements predicts the other half best."""
    halves = generator.random(len(likelihood)) < 0.5
    weights = np.stack([halves, ~halves], 1).astype(np.float32)
    scores = []
    for smoothing in SMOOTHINGS:
        widths = _widths(smoothing, width_cells)
        masses = maximum_likelihood_masses(likelihood, weights, shape, widths, CHOOSING_ITERATIONS)
        predicted = np.log(np.maximum(likelihood @ masses, 1e-30))
        scores.append(float((predicted * weights[:, ::-1]).sum()))
    return SMOOTHINGS[int(np.argmax(scores))]


def _histogram(measured: Measurements, axes: tuple[NDArray, ...]) -> NDArray[np.float64]:
    edges = [np.append(axis, 2 * axis[-1] - axis[-2]) - (axis[1] - axis[0]) / 2 for axis in axes]
    counts, _ = np.histogramdd(measured.positions, bins=edges, density=True)
    return np.nan_to_num(counts)

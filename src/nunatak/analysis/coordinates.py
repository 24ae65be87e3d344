"""Coordinates in which latents are compared: principal axes in units of their noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

INFORMED = 0.25
"""A component counts as informed where at least this share of its variance is not noise."""


@dataclass(frozen=True, eq=False)
class Coordinates:
    """An affine change of latents z to coordinates x = (z - centre) @ transform.

    Attributes
    ----------
    centre : (q,) float64
    transform : (q, q) float64
    variances : (q,) float64
        Of the coordinates, falling.
    reliabilities : (q,) float64
        Share of each coordinate's variance that is not noise, 0 to 1; 1 where no covariances are known.
    in_noise_units : bool
        True where the mean posterior covariance is the unit matrix in these coordinates.
    """

    centre: NDArray[np.float64]
    transform: NDArray[np.float64]
    variances: NDArray[np.float64]
    reliabilities: NDArray[np.float64]
    in_noise_units: bool

    @property
    def fractions(self) -> NDArray[np.float64]:
        """(q,) share of the whole variance in each coordinate."""
        return self.variances / max(float(self.variances.sum()), 1e-300)

    @property
    def informed(self) -> int:
        """How many leading coordinates carry more than noise; at least one."""
        return max(1, int(np.cumprod(self.reliabilities >= INFORMED).sum()))

    def of(self, latents: NDArray) -> NDArray[np.float64]:
        """(n, q) coordinates of latents."""
        return (np.asarray(latents, np.float64) - self.centre) @ self.transform

    def latents(self, coordinates: NDArray) -> NDArray[np.float64]:
        """(n, q) latents of coordinates; the inverse of `of`."""
        return np.linalg.solve(self.transform.T, np.asarray(coordinates, np.float64).T).T + self.centre

    def covariances(self, covariances: NDArray) -> NDArray[np.float64]:
        """(n, q, q) covariances in these coordinates."""
        return self.transform.T @ np.asarray(covariances, np.float64) @ self.transform


def principal_coordinates(latents: NDArray, mean_covariance: NDArray | None = None) -> Coordinates:
    """Principal axes of the latents, where possible after whitening by their mean posterior covariance.

    A run's latents are defined up to an affine change only (convention 10), which plain principal components
    depend on. Measured in units of their noise they do not: these are the generalised eigenvectors of signal
    and noise covariance, the axis that is known best against its spread first.

    Parameters
    ----------
    latents : (n, q)
        Posterior means.
    mean_covariance : (q, q), optional
        Mean of the posterior covariances.
    """
    flat = np.asarray(latents, np.float64)
    centre = flat.mean(0)
    spread = np.atleast_2d(np.cov(flat, rowvar=False, bias=True))
    whitening = np.eye(flat.shape[1])
    if mean_covariance is not None:
        values, vectors = np.linalg.eigh(np.asarray(mean_covariance, np.float64))
        whitening = vectors / np.sqrt(np.maximum(values, 1e-9 * max(float(values.max()), 1e-300)))
    variances, axes = np.linalg.eigh(whitening.T @ spread @ whitening)
    transform = whitening @ axes[:, ::-1]
    transform = transform * _signs(flat - centre, transform)
    variances = np.maximum(variances[::-1], 0.0)
    known = mean_covariance is not None
    reliabilities = variances / (variances + 1) if known else np.ones_like(variances)
    return Coordinates(centre, transform, variances, reliabilities, known)


def _signs(centred: NDArray, transform: NDArray) -> NDArray[np.float64]:
    """+1 or -1 per axis: the longer tail points to positive values, whatever the eigensolver chose."""
    sample = centred[:: max(1, len(centred) // 20000)] @ transform
    return np.where((sample**3).sum(0) < 0, -1.0, 1.0)

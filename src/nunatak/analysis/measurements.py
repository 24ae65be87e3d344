"""What the images say about the latents without the prior: positions with Gaussian errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_PRECISION = 1e-2
"""An image that says less than this, in units of the prior's precision, counts as saying this little."""


@dataclass(frozen=True, eq=False)
class Measurements:
    """n positions with errors: position = truth + noise of that covariance.

    Attributes
    ----------
    positions : (n, d) float64
    covariances : (n, d, d) float64
    """

    positions: NDArray[np.float64]
    covariances: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.positions)

    def rows(self, rows: NDArray | slice) -> Measurements:
        """Some of the measurements."""
        return Measurements(self.positions[rows], self.covariances[rows])

    def seen_along(self, centre: NDArray, axes: NDArray) -> Measurements:
        """In other coordinates: (positions - centre) @ axes, with axes (d, k)."""
        return Measurements((self.positions - centre) @ axes, axes.T @ self.covariances @ axes)


def without_prior(means: NDArray, covariances: NDArray) -> Measurements:
    """Divide Gaussian posteriors by the prior N(0, I) of convention 10: what is left is the likelihood.

    The posterior's precision is the likelihood's plus one, C^-1 = L + I, and its mean is C b, so the images
    alone put the latent at L^-1 b with covariance L^-1. Posterior means are shrunk to the middle by
    L / (L + I) and would give a landscape that is too narrow.

    Parameters
    ----------
    means : (n, q)
    covariances : (n, q, q)
    """
    covariances = np.asarray(covariances, np.float64)
    values, vectors = np.linalg.eigh((covariances + covariances.swapaxes(1, 2)) / 2)
    precision = np.maximum(1 / np.maximum(values, 1e-12) - 1, LEAST_PRECISION)
    stretch = 1 / (np.maximum(values, 1e-12) * precision)
    turned = np.einsum("nji,nj->ni", vectors, np.asarray(means, np.float64))
    positions = np.einsum("nij,nj->ni", vectors, turned * stretch)
    return Measurements(positions, (vectors / precision[:, None]) @ vectors.swapaxes(1, 2))

"""Latents of a motion of known density, as a run gives them: posteriors under the prior N(0, I)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

DIMENSIONS = 4


@dataclass(frozen=True)
class Motion:
    """A reaction coordinate t in [-1, 1] of uneven occupancy, and where it leads in latent space.

    Attributes
    ----------
    occupancy : tuple of float
        Density at equally spaced t, linear between.
    bend : float
        Radians that the curve turns by from its middle to an end; 0 is straight.
    """

    occupancy: tuple[float, ...]
    bend: float

    def density(self, t: np.ndarray) -> np.ndarray:
        """Density of t, up to a factor."""
        return np.interp(t, np.linspace(-1, 1, len(self.occupancy)), self.occupancy)

    def curve(self, t: np.ndarray) -> np.ndarray:
        """(n, 4) raw positions."""
        bend = max(self.bend, 1e-6)
        points = np.zeros((len(t), DIMENSIONS))
        points[:, 0], points[:, 1] = np.sin(bend * t) / bend, (1 - np.cos(bend * t)) / bend
        return points


@dataclass(frozen=True)
class Posteriors:
    """What a run would say, and the truth.

    Attributes
    ----------
    means, covariances : (n, 4), (n, 4, 4)
    t : (n,)
        True reaction coordinate.
    embed : callable
        (m,) t to (m, 4) true latents.
    """

    means: np.ndarray
    covariances: np.ndarray
    t: np.ndarray
    embed: Callable[[np.ndarray], np.ndarray]


def posteriors(motion: Motion, count: int, noise: float, seed: int) -> Posteriors:
    """Draw particles, embed them affinely so that latents are white, measure them with noise of their own.

    Parameters
    ----------
    noise : float
        Standard deviation of a typical measurement, against that of the motion.
    """
    generator = np.random.default_rng(seed)
    grid = np.linspace(-1, 1, 4001)
    density = motion.density(grid)
    t = generator.choice(grid, count, p=density / density.sum()) + generator.uniform(-2.5e-4, 2.5e-4, count)
    jitter = np.zeros((count, DIMENSIONS))
    jitter[:, 2:] = 0.05 * generator.normal(size=(count, 2))
    raw = motion.curve(t) + jitter
    centre, scale = raw.mean(0), raw[:, 0].std()
    whitening = np.linalg.inv(np.linalg.cholesky(np.cov(raw.T) + 1e-6 * np.eye(DIMENSIONS)))
    turn = np.linalg.qr(generator.normal(size=(DIMENSIONS, DIMENSIONS)))[0] @ whitening

    def embed(values: np.ndarray) -> np.ndarray:
        return (motion.curve(values) - centre) @ turn.T

    # Noise is alike in all raw directions: where the molecule changes less, latents are known worse.
    typical = turn @ turn.T * (noise * scale) ** 2
    factor = generator.uniform(0.6, 1.6, count)
    errors = generator.multivariate_normal(np.zeros(DIMENSIONS), typical, count) * np.sqrt(factor)[:, None]
    measured = (raw - centre) @ turn.T + errors
    precision = np.linalg.inv(typical)
    covariances = np.linalg.inv(precision / factor[:, None, None] + np.eye(DIMENSIONS))
    means = np.einsum("nij,nj->ni", covariances, (measured @ precision) / factor[:, None])
    return Posteriors(means, covariances, t, embed)

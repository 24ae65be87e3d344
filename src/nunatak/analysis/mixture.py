"""Gaussian mixtures of what was measured with errors: extreme deconvolution.

Every measurement has a covariance of its own, which is part of how it scatters about its group and no part of
the group (Bovy, Hogg & Roweis 2011, Ann. Appl. Stat. 5, 1657). Groups that the errors of most particles
blur into each other are told apart by those that are known better.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from nunatak.analysis.measurements import Measurements

ITERATIONS = 30
_RIDGE = 0.05
"""What keeps a group from collapsing on a particle; in units of the noise."""
_TRIED, _PATIENCE = 2, 2


@dataclass(frozen=True, eq=False)
class NoiseMixture:
    """k groups, their errors taken out.

    Attributes
    ----------
    weights : (k,) float64
        Shares of the particles; they add up to 1.
    means : (k, d) float64
    covariances : (k, d, d) float64
        Of the particles' true places in each group.
    """

    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    covariances: NDArray[np.float64]

    def log_joint(self, measured: Measurements) -> NDArray[np.float64]:
        """(n, k) log of weight times density of each measurement in each group, up to one constant."""
        columns = []
        for weight, mean, covariance in zip(self.weights, self.means, self.covariances, strict=True):
            whole = measured.covariances + covariance
            away = measured.positions - mean
            cost = np.einsum("ni,nij,nj->n", away, np.linalg.inv(whole), away) + np.linalg.slogdet(whole)[1]
            columns.append(np.log(max(float(weight), 1e-300)) - 0.5 * cost)
        return np.stack(columns, 1)

    def labels(self, measured: Measurements) -> NDArray[np.int32]:
        """(n,) most probable group of each measurement."""
        return self.log_joint(measured).argmax(1).astype(np.int32)


def fit_noise_mixture(measured: Measurements, count: int) -> NoiseMixture:
    """A mixture of so many groups."""
    return next(mixture for mixture in _growing(measured) if len(mixture.weights) == count)


def best_noise_mixture(measured: Measurements, most: int) -> NoiseMixture:
    """The mixture of one to `most` groups of the least Bayesian information criterion (Schwarz 1978).

    Numbers are tried in order, until two that follow each other have made it worse.
    """
    n, d = measured.positions.shape
    chosen: list[tuple[float, NoiseMixture]] = []
    for mixture in islice(_growing(measured), most):
        parameters = len(mixture.weights) * (1 + d + d * (d + 1) / 2) - 1
        chosen.append((parameters * np.log(n) - 2 * n * _log_likelihood(measured, mixture), mixture))
        if len(chosen) - 1 - min(range(len(chosen)), key=lambda k: chosen[k][0]) == _PATIENCE:
            break
    return min(chosen, key=lambda pair: pair[0])[1]


def _growing(measured: Measurements) -> Iterator[NoiseMixture]:
    """Mixtures of 1, 2, 3, ... groups: each from the one before, a group of which is cut in two.

    Groups whose particles' true places spread most are cut along that spread, so that no chance decides; of
    the two that come first the one is kept that leads to the higher likelihood.
    """
    spread = np.cov(measured.positions, rowvar=False, bias=True).reshape((measured.positions.shape[1],) * 2)
    mixture = NoiseMixture(np.ones(1), measured.positions.mean(0)[None], spread[None])
    mixture = _fitted(measured, mixture)
    while True:
        yield mixture
        widest = np.linalg.eigvalsh(mixture.covariances)[:, -1] * mixture.weights
        cut = [_fitted(measured, _cut(mixture, int(group))) for group in np.argsort(-widest)[:_TRIED]]
        mixture = max(cut, key=lambda one: _log_likelihood(measured, one))


def _cut(mixture: NoiseMixture, group: int) -> NoiseMixture:
    """The mixture with one group in two: a standard deviation to either side along its longest axis."""
    values, axes = np.linalg.eigh(mixture.covariances[group])
    step = np.sqrt(max(float(values[-1]), 0.0)) * axes[:, -1]
    halves = np.stack([mixture.means[group] - step, mixture.means[group] + step])
    narrow = mixture.covariances[group] - 0.75 * np.outer(step, step)
    rest = np.arange(len(mixture.weights)) != group
    return NoiseMixture(
        np.append(mixture.weights[rest], np.full(2, mixture.weights[group] / 2)),
        np.concatenate([mixture.means[rest], halves]),
        np.concatenate([mixture.covariances[rest], np.stack([narrow, narrow])]),
    )


def _fitted(measured: Measurements, mixture: NoiseMixture) -> NoiseMixture:
    for _ in range(ITERATIONS):
        mixture = _step(measured, mixture)
    return mixture


def _log_likelihood(measured: Measurements, mixture: NoiseMixture) -> float:
    """Mean over the measurements."""
    joint = mixture.log_joint(measured)
    highest = joint.max(1)
    return float((np.log(np.exp(joint - highest[:, None]).sum(1)) + highest).mean())


def _step(measured: Measurements, mixture: NoiseMixture) -> NoiseMixture:
    """One step of expectation maximisation."""
    joint = mixture.log_joint(measured)
    shares = np.exp(joint - joint.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    sizes = shares.sum(0) + 1e-9
    means, covariances = np.empty_like(mixture.means), np.empty_like(mixture.covariances)
    ridge = _RIDGE * np.eye(mixture.means.shape[1])
    for k, (mean, covariance) in enumerate(zip(mixture.means, mixture.covariances, strict=True)):
        gain = covariance @ np.linalg.inv(measured.covariances + covariance)
        places = mean + np.einsum("nij,nj->ni", gain, measured.positions - mean)
        means[k] = shares[:, k] @ places / sizes[k]
        away = places - means[k]
        spread = (shares[:, k, None] * away).T @ away
        # What each particle's own error leaves unknown of its place.
        unknown = sizes[k] * covariance - np.tensordot(shares[:, k], gain, 1) @ covariance
        covariances[k] = (spread + (unknown + unknown.T) / 2 + ridge) / (sizes[k] + 1)
    return NoiseMixture(sizes / sizes.sum(), means, covariances)

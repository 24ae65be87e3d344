"""Gaussian mixtures of what was measured with errors: extreme deconvolution.

Every measurement has a covariance of its own, which is part of how it scatters about its group and no part of
the group (Bovy, Hogg & Roweis 2011, Ann. Appl. Stat. 5, 1657). Groups that the errors of most particles
blur into each other are told apart by those that are known better.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from nunatak.analysis.measurements import Measurements

ITERATIONS = 60
_BEGINNING, _RIDGE = 0.3, 0.05
"""Variance of a group at the beginning, and what keeps one from collapsing; in units of the noise."""
_PATIENCE = 2


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


def fit_noise_mixture(measured: Measurements, count: int, seed: int) -> tuple[NoiseMixture, float]:
    """A mixture of so many groups, and the Bayesian information criterion of it (Schwarz 1978).

    Parameters
    ----------
    measured : Measurements
        In coordinates in which a typical measurement has about unit variance.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        begun = GaussianMixture(count, random_state=seed, reg_covar=1e-3).fit(measured.positions)
    n, d = measured.positions.shape
    mixture = NoiseMixture(begun.weights_, begun.means_, np.repeat(_BEGINNING * np.eye(d)[None], count, 0))
    for _ in range(ITERATIONS):
        mixture = _step(measured, mixture)
    joint = mixture.log_joint(measured)
    highest = joint.max(1)
    likelihood = float((np.log(np.exp(joint - highest[:, None]).sum(1)) + highest).sum())
    parameters = count * (1 + d + d * (d + 1) / 2) - 1
    return mixture, parameters * np.log(n) - 2 * likelihood


def best_noise_mixture(measured: Measurements, most: int, seed: int) -> NoiseMixture:
    """The mixture of one to `most` groups of the least information criterion.

    Numbers are tried in order, until two that follow each other have made it worse.
    """
    chosen, least, worse = None, np.inf, 0
    for count in range(1, most + 1):
        mixture, criterion = fit_noise_mixture(measured, count, seed)
        if chosen is None or criterion < least:
            chosen, least, worse = mixture, criterion, 0
        else:
            worse += 1
        if worse == _PATIENCE:
            break
    return chosen or mixture


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

"""A landscape against the occupancy that was simulated: free energies of states, in kT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import UnivariateSpline

from nunatak.core.errors import require

COUNTED = 0.01
"""States of less than this part of the commonest one's occupancy are not compared."""
_FEW_STATES = 8
_FREEDOM, _CENTRE_STEPS = 4.0, 20


@dataclass(frozen=True, eq=False)
class StateEnergies:
    """Free energy of every state, as found and in truth; both of mean zero over the states compared.

    Attributes
    ----------
    found_kT, true_kT : (states,) float64
        Nothing is less than half a particle.
    compared : (states,) bool
        States of more than 1 % of the largest true occupancy.
    rmse_kT : float
        Root mean square difference over the states compared.
    """

    found_kT: NDArray[np.float64]
    true_kT: NDArray[np.float64]
    compared: NDArray[np.bool_]
    rmse_kT: float


def state_energies(shares: NDArray, true_shares: NDArray, particles: int) -> StateEnergies:
    """Free energies of states from (states,) shares of so many particles, found and true."""
    true_shares = np.asarray(true_shares, np.float64)
    compared = true_shares > COUNTED * true_shares.max()
    energies = [-np.log(np.maximum(part, 0.5 / particles)) for part in (np.asarray(shares), true_shares)]
    found_kT, true_kT = (energy - energy[compared].mean() for energy in energies)
    difference = found_kT[compared] - true_kT[compared]
    return StateEnergies(found_kT, true_kT, compared, float(np.sqrt((difference**2).mean())))


def centres_of_states(
    positions: NDArray, covariances: NDArray, labels: NDArray, coordinates: NDArray
) -> NDArray[np.float64]:
    """(states, d) where each state lies in latent space, by the measurements of its particles.

    The location of a t distribution whose shape for each particle is its error's (Lange, Little & Taylor
    1989, J. Am. Stat. Assoc. 84, 881), since particles with wrong poses lie anywhere; of many states the
    smoothest curve through them that their standard errors allow.

    Parameters
    ----------
    positions, covariances : (n, d), (n, d, d)
        Of the particles, without a prior.
    labels : (n,) int
    coordinates : (states,)
        The true reaction coordinate of each state, rising.

    Raises
    ------
    InputError
        Fewer than two states have particles.
    """
    there = np.flatnonzero(np.bincount(labels, minlength=len(coordinates)) > 1)
    require(len(there) > 1, "Only one state has particles: there is no landscape to score.")
    precisions = np.linalg.inv(covariances)
    found = [_robust_centre(positions[labels == k], precisions[labels == k]) for k in there]
    centres, errors = (np.array(column) for column in zip(*found, strict=True))
    if len(there) < _FEW_STATES:
        columns = [np.interp(coordinates, coordinates[there], column) for column in centres.T]
    else:
        weights = 1 / np.maximum(errors, 1e-9 * max(float(np.ptp(centres)), 1e-300))
        columns = [
            UnivariateSpline(coordinates[there], column, weight, k=3, s=len(there))(coordinates)
            for column, weight in zip(centres.T, weights.T, strict=True)
        ]
    return np.stack(columns, 1)


def in_one_direction(places: NDArray) -> NDArray[np.float64]:
    """(states,) places of a motion's states along a path, none before the one that it follows.

    Few states are no motion: they may branch, and a path visit them in any order.
    """
    if len(places) < _FEW_STATES:
        return places
    rises = places[-1] >= places[0]
    return np.maximum.accumulate(places) if rises else np.minimum.accumulate(places)


def _robust_centre(positions: NDArray, precisions: NDArray) -> tuple[NDArray, NDArray]:
    """(d,) location of measurements with errors of their own, and its (d,) standard errors."""
    centre = np.median(positions, 0)
    for _ in range(_CENTRE_STEPS):
        away = positions - centre
        squared = np.einsum("ni,nij,nj->n", away, precisions, away)
        share = (_FREEDOM + positions.shape[1]) / (_FREEDOM + squared)
        whole = np.einsum("n,nij->ij", share, precisions)
        centre = np.linalg.solve(whole, np.einsum("n,nij,nj->i", share, precisions, positions))
    pulls = share[:, None] * np.einsum("nij,nj->ni", precisions, positions - centre)
    inverse = np.linalg.inv(whole)
    return centre, np.sqrt(np.diag(inverse @ (pulls.T @ pulls) @ inverse))


def shares_along(axis: NDArray, density: NDArray, places: NDArray) -> NDArray[np.float64]:
    """(states,) share of a path's density that belongs to each state: what lies nearest to its place.

    Parameters
    ----------
    axis : (cells,)
        Equally spaced positions along the path.
    density : (cells,)
    places : (states,)
        Where the states lie on that axis, in any order.
    """
    order = np.argsort(places, kind="stable")
    bounds = (places[order][1:] + places[order][:-1]) / 2
    step = axis[1] - axis[0]
    edges = np.append(axis - step / 2, axis[-1] + step / 2)
    below = np.concatenate([[0.0], np.cumsum(density)]) * step
    within = np.diff(np.concatenate([[0.0], np.interp(bounds, edges, below), [below[-1]]]))
    shares = np.empty(len(places))
    shares[order] = within / max(float(within.sum()), 1e-300)
    return shares


def tenths(shares: NDArray) -> NDArray[np.float64]:
    """(10,) shares of ten stretches of a motion from those of its (states,) states; as they are if fewer.

    Where latents hardly change with the coordinate, a single state's place among its neighbours is known
    worse than its width.
    """
    return np.array([float(part.sum()) for part in np.array_split(shares, min(10, len(shares)))])


def shares_of_clusters(clusters: NDArray, labels: NDArray, states: int) -> NDArray[np.float64]:
    """(states,) share of the particles in clusters of which a state is the commonest one."""
    counts = np.zeros((int(clusters.max()) + 1, states))
    np.add.at(counts, (clusters, labels), 1)
    shares = np.bincount(counts.argmax(1), counts.sum(1), states)
    return shares / shares.sum()

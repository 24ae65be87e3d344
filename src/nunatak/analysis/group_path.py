"""A path through groups of particles that lie apart: states of a composition have no order but nearness.

A curve along an order of the particles is for motions. States that branch, each a point but for the errors
of its particles, lie on no curve of that kind; the shortest way through all of them misses none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nunatak.analysis.measurements import Measurements
from nunatak.analysis.mixture import NoiseMixture

LEAST_SHARE = 0.02
"""Smaller groups are particles gone astray, or too few to lead a path through."""
# Of two the way is straight; and all ways through more than so many are too many to compare.
_LEAST_GROUPS, _MOST_GROUPS = 3, 12
# Part of the particles in groups that spread by less than half their errors: the others are on the move.
_IN_POINTS, _POINT = 0.9, 0.5
# Mean probability of the group that is a particle's most probable one: groups that overlap are no states.
_SURE = 0.9


def path_through_groups(measured: Measurements, groups: NoiseMixture) -> NDArray[np.float64] | None:
    """(k, d) centres of three groups to twelve, along the shortest way; None where groups are not apart.

    Parameters
    ----------
    measured : Measurements
        By which it is judged whether they are.
    """
    counted = np.flatnonzero(groups.weights >= LEAST_SHARE)
    if not _LEAST_GROUPS <= len(counted) <= _MOST_GROUPS or not are_apart(measured, groups):
        return None
    centres = groups.means[counted]
    return centres[shortest_order(centres)]


def are_apart(measured: Measurements, groups: NoiseMixture) -> bool:
    """Whether nearly all particles are in groups that are points but for the errors, each surely in its."""
    joint = groups.log_joint(measured)
    probabilities = np.exp(joint - joint.max(1, keepdims=True))
    sure = float((1 / probabilities.sum(1)).mean())
    error = float(np.sqrt(np.median(np.linalg.eigvalsh(measured.covariances)[:, 0])))
    spreads = np.sqrt(np.maximum(np.linalg.eigvalsh(groups.covariances)[:, -1], 0))
    in_points = float(groups.weights[(spreads < _POINT * error) & (groups.weights >= LEAST_SHARE)].sum())
    return sure > _SURE and in_points > _IN_POINTS


def shortest_order(places: NDArray) -> NDArray[np.int64]:
    """(k,) order in which all of (k, d) places are visited on the shortest way, from one end to the other.

    Exact, over all subsets (Held & Karp 1962, J. SIAM 10, 196): time and memory double with each place.
    """
    count = len(places)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    # Cheapest way through the places of a subset, bit by bit, that ends at each of them.
    cost = np.full((1 << count, count), np.inf)
    before = np.zeros((1 << count, count), np.int64)
    for place in range(count):
        cost[1 << place, place] = 0.0
    for subset in range(1, 1 << count):
        for place in range(count):
            if subset >> place & 1 and subset != 1 << place:
                ways = cost[subset ^ (1 << place)] + apart[:, place]
                before[subset, place] = int(ways.argmin())
                cost[subset, place] = float(ways[before[subset, place]])
    subset, place = (1 << count) - 1, int(cost[-1].argmin())
    order = [place]
    while subset != 1 << place:
        subset, place = subset ^ (1 << place), int(before[subset, place])
        order.append(place)
    return np.array(order)

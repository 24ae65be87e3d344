"""Ways through a run's latents as the path editor asks for them; the mathematics is analysis' own."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nunatak.analysis.coordinates import principal_coordinates
from nunatak.analysis.dominant import dominant_curve
from nunatak.analysis.measurements import Measurements
from nunatak.analysis.paths import graph_path, resampled
from nunatak.analysis.sampling import spread_rows
from nunatak.analysis.support import neighbour_covariances, point_support, support_warning
from nunatak.core.errors import require

GRAPH_PARTICLES = 4000
"""A graph of more finds no better way and takes longer than a click may."""


@dataclass(frozen=True, eq=False)
class LatentPath:
    """Positions along a way, and what particles say about them.

    Attributes
    ----------
    positions : (k, q) float64
    support : (k,) float64
        About 1 where particles are, towards 0 where there are none.
    warning : str or None
    """

    positions: NDArray[np.float64]
    support: NDArray[np.float64]
    warning: str | None


def find_path(
    latents: NDArray,
    covariances: NDArray | None,
    stops: NDArray,
    steps: int,
    through_particles: bool,
) -> LatentPath:
    """The way that passes some stops; without any, the whole length of the dominant motion.

    Parameters
    ----------
    latents : (n, q)
    covariances : (n, q, q) or None
        Of the latents' posteriors.
    stops : (m, q)
        None, or at least two.
    through_particles : bool
        Bend it over the graph of nearest neighbours between stops.

    Raises
    ------
    InputError
        Two stops that follow each other are one place.
    """
    same = any(np.array_equal(one, other) for one, other in pairwise(stops))
    require(not same, "Two stops that follow each other are the same place: choose different ones.")
    rows = spread_rows(len(latents), GRAPH_PARTICLES)
    mean_covariance = None if covariances is None else covariances.mean(0)
    frame = principal_coordinates(latents, mean_covariance)
    near = frame.of(latents[rows])
    width = neighbour_covariances(near) if covariances is None else frame.covariances(covariances[rows])
    if not len(stops):
        way = _dominant(near, width, frame.informed)
    else:
        ends = frame.of(stops)
        way = _bent(ends, near, steps) if through_particles else ends
    points = resampled(way, steps)
    support = point_support(points, near, width)
    return LatentPath(frame.latents(points), support, support_warning("chosen", support))


def _dominant(particles: NDArray, covariances: NDArray, informed: int) -> NDArray[np.float64]:
    """(m, q) the curve that explains the particles best, in the coordinates that carry more than noise.

    It lies among the posterior means, as the maps that are shown along it shall.
    """
    places = Measurements(particles[:, :informed], covariances[:, :informed, :informed])
    curve = dominant_curve(places, places.positions, lambda points: points).curve.within
    way = np.zeros((len(curve), particles.shape[1]))
    way[:, :informed] = curve if curve[0, 0] <= curve[-1, 0] else curve[::-1]
    return way


def _bent(ends: NDArray, particles: NDArray, steps: int) -> NDArray[np.float64]:
    """The legs between stops, each the shortest way over the graph."""
    nodes = np.concatenate([ends, particles])
    legs = [graph_path(nodes, start, end, 4 * steps) for start, end in pairwise(range(len(ends)))]
    return np.concatenate(legs)

"""Paths through a landscape: along a component, straight, through the particles, downhill."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.sparse.linalg import eigsh
from sklearn.neighbors import NearestNeighbors

from nunatak.analysis.sampling import spread_rows
from nunatak.core.errors import require

NEIGHBOURS = 12
_KNIGHT_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1), (1, 2), (1, -2), (2, 1), (2, -1))
_LEAST_DENSITY = 1e-4
_DENSE_SHARE = 0.9
# Points that a random walk is made on; and so few of them that all eigenvectors are quicker than two.
_WALKED, _SMALL = 20_000, 200


def component_path(coordinates: NDArray, component: int, count: int) -> NDArray[np.float64]:
    """(count, q) points along one coordinate, from its 5th to its 95th percentile, the others at the mean."""
    low, high = np.quantile(coordinates[:, component], [0.05, 0.95])
    points = np.repeat(np.asarray(coordinates, np.float64).mean(0)[None], count, 0)
    points[:, component] = np.linspace(low, high, count)
    return points


def straight_path(start: NDArray, end: NDArray, count: int) -> NDArray[np.float64]:
    """(count, q) equally spaced points from one (q,) point to another."""
    share = np.linspace(0, 1, count)[:, None]
    return (1 - share) * np.asarray(start, np.float64) + share * np.asarray(end, np.float64)


def graph_path(points: NDArray, start: int, end: int, count: int) -> NDArray[np.float64]:
    """(count, q) points of the shortest way over the graph of nearest neighbours, smoothed.

    A step costs the square of its length, so the way takes many short steps where particles are dense
    instead of few long ones across gaps. Parts of the graph that hang apart are joined by the shortest
    bridges.

    Parameters
    ----------
    points : (n, q)
    start, end : int
        Rows of `points`.
    """
    require(start != end, "A path needs two different ends: both are the same particle.")
    graph = _connected_graph(points)
    _, before = dijkstra(graph, indices=start, return_predecessors=True)
    rows = [end]
    while rows[-1] != start:
        rows.append(int(before[rows[-1]]))
    return resampled(smoothed(resampled(points[rows[::-1]], 4 * count)), count)


def farthest_ends(points: NDArray) -> tuple[int, int]:
    """Rows of the two ends of the dominant motion through (n, q) points, bent or not.

    They are the ends of the slowest coordinate of a random walk between neighbours, the first of a diffusion
    map (Coifman & Lafon 2006): noise in many dimensions makes long ways, and no slow ones. The walk is on the
    nine tenths of the points with the nearest neighbours, since a stray particle is the end of nothing; of
    many points on some. The end with the smaller first coordinate comes first.
    """
    some = spread_rows(len(points), _WALKED)
    search = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(some) - 1) + 1).fit(points[some])
    spacing = search.kneighbors(points[some])[0][:, -1]
    dense = some[np.argsort(spacing, kind="stable")[: max(2, int(_DENSE_SHARE * len(some)))]]
    slow = slow_coordinate(points[dense])
    pair = int(dense[np.argmin(slow)]), int(dense[np.argmax(slow)])
    first, second = sorted(pair, key=lambda row: float(points[row, 0]))
    return first, second


def slow_coordinate(points: NDArray) -> NDArray[np.float64]:
    """(n,) second eigenvector of a random walk on the graph of nearest neighbours, all steps alike."""
    if len(points) == 2:
        return np.array([0.0, 1.0])
    graph = _connected_graph(points)
    graph.data[:] = 1.0
    root = np.sqrt(np.asarray(graph.sum(1)).ravel())
    walk = graph.multiply(1 / root[:, None]).multiply(1 / root[None]).tocsr()
    if len(points) < _SMALL:
        vectors = np.linalg.eigh(walk.toarray())[1]
    else:  # from a start of our own: the library's is drawn at random
        start = np.random.default_rng(0).normal(size=len(points))
        values, found = eigsh(walk, 2, which="LA", v0=start)
        vectors = found[:, np.argsort(values)]
    return vectors[:, -2] / root


def energy_path(
    axes: tuple[NDArray, NDArray], density: NDArray, start: NDArray, end: NDArray, count: int
) -> NDArray[np.float64]:
    """(count, 2) points of the way of lowest free energy between two points of a density's plane.

    The way minimises the integral of exp(F / kT) = 1 / density along it, which is the way of the largest
    flux of diffusing molecules (Berkowitz et al. 1983; MaxFlux, Huo & Straub 1997, J. Chem. Phys. 107, 5000).

    Parameters
    ----------
    axes : two (g,) arrays
        Cell centres of the grid.
    density : (g, h)
    start, end : (2,)
    """
    graph = _grid_graph(axes, density)
    cells = [_cell_of(axes, point) for point in (start, end)]
    require(cells[0] != cells[1], "A path needs two different ends: both lie in one cell of the landscape.")
    _, before = dijkstra(graph, indices=cells[0], return_predecessors=True)
    cells = [cells[1], cells[0]]
    rows = [cells[0]]
    while rows[-1] != cells[1]:
        rows.append(int(before[rows[-1]]))
    columns = len(axes[1])
    way = np.array([[axes[0][row // columns], axes[1][row % columns]] for row in rows[::-1]])
    return resampled(smoothed(resampled(way, 4 * count)), count)


def lifted(plane_path: NDArray, coordinates: NDArray, width: float) -> NDArray[np.float64]:
    """(m, q) path whose first two coordinates are given, the others the mean of the particles around.

    Parameters
    ----------
    plane_path : (m, 2)
    coordinates : (n, q)
    width : float
        Of the Gaussian weights in the plane.
    """
    if coordinates.shape[1] <= 2:
        return np.asarray(plane_path[:, : coordinates.shape[1]], np.float64)
    rest = np.empty((len(plane_path), coordinates.shape[1] - 2))
    for row, point in enumerate(plane_path):
        squared = ((coordinates[:, :2] - point) ** 2).sum(1)
        # Where nothing is near, the weights of the nearest ones still add up to one.
        weight = np.exp(-(squared - squared.min()) / (2 * width**2))
        rest[row] = weight @ coordinates[:, 2:] / weight.sum()
    return np.concatenate([plane_path, smoothed(rest)], 1)


def resampled(points: NDArray, count: int) -> NDArray[np.float64]:
    """(count, q) points equally spaced along the polygon through (m, q) points."""
    position = arc_lengths(points)
    target = np.linspace(0, position[-1], count)
    return np.stack([np.interp(target, position, column) for column in np.asarray(points, float).T], 1)


def smoothed(points: NDArray, fraction: float = 0.05) -> NDArray[np.float64]:
    """(m, q) path without corners finer than a fraction of its length; its ends stay."""
    soft = gaussian_filter1d(np.asarray(points, np.float64), fraction * len(points), axis=0, mode="nearest")
    share = np.linspace(0, 1, len(points))[:, None]
    return soft + (1 - share) * (points[0] - soft[0]) + share * (points[-1] - soft[-1])


def arc_lengths(points: NDArray) -> NDArray[np.float64]:
    """(m,) distance of each point from the first, along the path."""
    steps = np.linalg.norm(np.diff(np.asarray(points, np.float64), axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])


def extended(points: NDArray, beyond: float) -> NDArray[np.float64]:
    """The path with a straight piece of a given length at either end."""
    lead = points[0] - points[min(2, len(points) - 1)]
    tail = points[-1] - points[-min(3, len(points))]
    first = points[0] + beyond * lead / max(float(np.linalg.norm(lead)), 1e-300)
    last = points[-1] + beyond * tail / max(float(np.linalg.norm(tail)), 1e-300)
    return np.concatenate([first[None], points, last[None]])


def projected_on_path(coordinates: NDArray, points: NDArray) -> tuple[NDArray[np.float64], NDArray]:
    """Where along a path each particle is nearest to it, and how far away: two (n,) arrays."""
    positions = arc_lengths(points)
    along = np.empty(len(coordinates))
    distance = np.full(len(coordinates), np.inf)
    for part in np.array_split(np.arange(len(coordinates)), max(1, len(coordinates) // 100000)):
        here = np.asarray(coordinates[part], np.float64)
        for k, (first, last) in enumerate(pairwise(points)):
            step = last - first
            squared = float(step @ step)
            share = np.clip((here - first) @ step / squared, 0, 1) if squared > 0 else np.zeros(len(here))
            away = np.linalg.norm(here - first - share[:, None] * step, axis=1)
            nearer = away < distance[part]
            rows = part[nearer]
            distance[rows] = away[nearer]
            along[rows] = positions[k] + share[nearer] * np.sqrt(squared)
    return along, distance


def _connected_graph(points: NDArray) -> csr_matrix:
    """Symmetric graph of squared distances between neighbours; parts that hang apart are bridged.

    Each part that is not the largest is joined to the rest by its shortest bridge, until one part is left.
    """
    neighbours = min(NEIGHBOURS, len(points) - 1)
    distance, near = NearestNeighbors(n_neighbors=neighbours + 1).fit(points).kneighbors(points)
    rows = np.repeat(np.arange(len(points)), neighbours)
    graph = _graph(len(points), rows, near[:, 1:].ravel(), distance[:, 1:].ravel())
    while True:
        parts, part = connected_components(graph, directed=False)
        if parts == 1:
            return graph
        bridges = [_shortest_bridge(points, part == k) for k in np.argsort(np.bincount(part))[:-1]]
        first, second, length = (np.array(column) for column in zip(*bridges, strict=True))
        graph = graph.maximum(_graph(len(points), first, second, length))


def _graph(count: int, rows: NDArray, columns: NDArray, lengths: NDArray) -> csr_matrix:
    # Particles at one place would make edges of no cost, which a sparse graph does not hold.
    cost = np.maximum(np.asarray(lengths, np.float64) ** 2, 1e-12)
    graph = coo_matrix((cost, (rows, columns)), (count, count)).tocsr()
    return graph.maximum(graph.T)


def _shortest_bridge(points: NDArray, inside: NDArray) -> tuple[int, int, float]:
    """A point of a part, the nearest point outside it, and how far apart they are."""
    here, there = np.flatnonzero(inside), np.flatnonzero(~inside)
    distance, near = NearestNeighbors(n_neighbors=1).fit(points[there]).kneighbors(points[here])
    best = int(np.argmin(distance))
    return int(here[best]), int(there[near[best, 0]]), float(distance[best, 0])


def _grid_graph(axes: tuple[NDArray, NDArray], density: NDArray) -> csr_matrix:
    """Steps between cells up to a knight's move apart, at length over density."""
    spacing = [axis[1] - axis[0] for axis in axes]
    height, width = density.shape
    resistance = 1 / np.maximum(density / density.max(), _LEAST_DENSITY)
    number = np.arange(height * width).reshape(height, width)
    rows, columns, costs = [], [], []
    for down, right in _KNIGHT_STEPS:
        source = (slice(0, height - down), slice(max(0, -right), width - max(0, right)))
        target = (slice(down, height), slice(max(0, right), width - max(0, -right)))
        length = float(np.hypot(down * spacing[0], right * spacing[1]))
        rows.append(number[source].ravel())
        columns.append(number[target].ravel())
        costs.append((length * (resistance[source] + resistance[target]) / 2).ravel())
    cost, pairs = np.concatenate(costs), (np.concatenate(rows), np.concatenate(columns))
    graph = coo_matrix((cost, pairs), (height * width,) * 2).tocsr()
    return graph + graph.T


def _cell_of(axes: tuple[NDArray, NDArray], point: NDArray) -> int:
    row, column = (int(np.argmin(np.abs(axis - value))) for axis, value in zip(axes, point, strict=True))
    return row * len(axes[1]) + column

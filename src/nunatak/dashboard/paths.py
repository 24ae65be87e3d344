"""Ways through the latent space that are edited in the browser, and how well particles support them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from sklearn.neighbors import kneighbors_graph

from nunatak.core.errors import require

NEIGHBOURS = 20
GRAPH_PARTICLES = 4000
GRAPH_NEIGHBOURS = 12


def along(points: NDArray, steps: int) -> NDArray[np.float64]:
    """(steps, q) positions evenly spaced along the line through (k, q) points."""
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    wanted = np.linspace(0, lengths[-1], steps)
    return np.stack([np.interp(wanted, lengths, points[:, j]) for j in range(points.shape[1])], 1)


def through_particles(points: NDArray, latents: NDArray) -> NDArray[np.float64]:
    """(k, q) points of the shortest way over a nearest-neighbour graph that passes near the given ones.

    Edges cost the square of their length, so that many short steps through crowded places are preferred to a
    leap over an empty one (as in Isomap-like graph traversals: Tenenbaum et al. 2000, Science 290, 2319).

    Raises
    ------
    InputError
        Two points lie in parts of the graph that do not hang together.
    """
    step = max(1, len(latents) // GRAPH_PARTICLES)
    nodes = np.concatenate([points, latents[::step]]).astype(np.float64)
    graph = kneighbors_graph(nodes, min(GRAPH_NEIGHBOURS, len(nodes) - 1), mode="distance")
    graph.data **= 2
    graph = graph.maximum(graph.T)
    way = [0]
    for start in range(len(points) - 1):
        distance, before = dijkstra(graph, indices=start, return_predecessors=True)
        require(
            bool(np.isfinite(distance[start + 1])),
            "No way through particles joins two of these points: there is a gap between them.",
        )
        leg = [start + 1]
        while leg[-1] != start:
            leg.append(int(before[leg[-1]]))
        way += leg[::-1][1:]
    return _smoothed(nodes[way])


def _smoothed(way: NDArray) -> NDArray[np.float64]:
    """The way without the zigzag from particle to particle; its ends stay."""
    for _ in range(2):
        if len(way) > 4:
            way = np.concatenate([way[:1], (way[:-2] + 2 * way[1:-1] + way[2:]) / 4, way[-1:]])
    return way


def support(positions: NDArray, latents: NDArray) -> NDArray[np.float64]:
    """(k,) local density of particles at positions over that at a typical particle, at most 1.

    By the distance to the 20th nearest particle, in as many dimensions as the latent has.
    """
    tree = cKDTree(latents)
    count = min(NEIGHBOURS, len(latents))
    sample = latents[:: max(1, len(latents) // 2000)]
    typical = float(np.median(tree.query(sample, [count])[0]))
    here = tree.query(positions, [count])[0][:, 0]
    ratio = typical / np.maximum(here, 1e-12)
    return np.minimum(ratio, 1.0) ** latents.shape[1]

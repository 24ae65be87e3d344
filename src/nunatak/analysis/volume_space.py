"""A landscape of maps: principal components of many maps, clusters, and which blocks each map shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from nunatak.core.errors import require

PRESENT = 0.5
"""A block with at least this occupancy counts as present."""


@dataclass(frozen=True, eq=False)
class VolumeSpace:
    """m maps as points.

    Attributes
    ----------
    coordinates : (m, c) float64
        Along the principal components, in units of the root mean square density change over a map.
    fractions : (c,) float64
        Share of the maps' variance.
    components : (c, d, d, d) float32
        Of unit root mean square.
    mean : (d, d, d) float32
    labels : (m,) int32
        Clusters, by Ward's method.
    """

    coordinates: NDArray[np.float64]
    fractions: NDArray[np.float64]
    components: NDArray[np.float32]
    mean: NDArray[np.float32]
    labels: NDArray[np.int32]


def volume_space(maps: NDArray, clusters: int, components: int = 4) -> VolumeSpace:
    """Principal components and Ward clusters (Ward 1963) of (m, d, d, d) maps.

    Raises
    ------
    InputError
        There are fewer than two maps.
    """
    require(len(maps) >= 2, "A landscape of maps needs at least two maps.")
    flat = np.asarray(maps, np.float32).reshape(len(maps), -1)
    mean = flat.mean(0)
    centred = flat - mean
    # The maps are few and the voxels many: the small Gram matrix has the same eigenvectors.
    values, vectors = np.linalg.eigh((centred @ centred.T).astype(np.float64) / flat.shape[1])
    kept = min(components, len(maps) - 1)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1][:, :kept]
    coordinates = vectors * np.sqrt(values[:kept])
    axes = (coordinates / np.maximum(values[:kept], 1e-300)).T.astype(np.float32) @ centred
    labels = fcluster(linkage(coordinates, "ward"), min(clusters, len(maps)), "maxclust") - 1
    box = maps.shape[1:]
    return VolumeSpace(
        coordinates,
        values[:kept] / max(float(values.sum()), 1e-300),
        axes.reshape(kept, *box),
        mean.reshape(box),
        labels.astype(np.int32),
    )


def block_occupancies(maps: NDArray, masks: NDArray, level: float | None = None) -> NDArray[np.float64]:
    """(m, b) fraction of each block's voxels that lie above a contour level in each map.

    As in subunit-occupancy analysis (Davis et al. 2016, Cell 167, 1610; MAVEn, Kinman et al. 2023), scaled so
    that a block that is filled as in the map that shows most of it has occupancy 1.

    Parameters
    ----------
    maps : (m, d, d, d)
    masks : (b, d, d, d) bool
    level : float, optional
        By default each block's own: half of the brightest tenth of its voxels in the map that is brightest
        there.

    Raises
    ------
    InputError
        A mask is empty or has another box.
    """
    require(
        masks.shape[1:] == maps.shape[1:],
        f"The masks have a box of {masks.shape[1:]}, the maps one of {maps.shape[1:]}: give masks on the "
        "maps' pixel grid.",
    )
    filled = np.empty((len(maps), len(masks)))
    for block, mask in enumerate(masks):
        require(bool(mask.any()), f"Mask {block} is empty: voxels above 0.5 were expected.")
        inside = np.asarray(maps)[:, mask]
        own = 0.5 * float(np.quantile(inside[inside.mean(1).argmax()], 0.9)) if level is None else level
        filled[:, block] = (inside > own).mean(1)
    return filled / np.maximum(filled.max(0), 1e-6)


def composition_states(occupancies: NDArray) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Distinct sets of present blocks, the commonest first, and which of them each map shows.

    Returns
    -------
    (s, b) bool, (m,) int64
    """
    present = np.asarray(occupancies) >= PRESENT
    states, label, counts = np.unique(present, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return states[order], rank[label.ravel()]

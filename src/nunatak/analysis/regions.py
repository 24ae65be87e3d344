"""Parts of a plane: which points lie inside a polygon."""

from __future__ import annotations

import numpy as np
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from nunatak.core.errors import require


def inside_polygon(points: NDArray, polygon: NDArray) -> NDArray[np.bool_]:
    """(n,) which of (n, 2) points lie inside a polygon of (m, 2) corners, which closes itself.

    Raises
    ------
    InputError
        The polygon has fewer than three corners or corners that are not finite.
    """
    corners = np.asarray(polygon, np.float64)
    require(
        corners.ndim == 2
        and corners.shape[1] == 2
        and len(corners) >= 3
        and bool(np.isfinite(corners).all()),
        "A lasso needs a polygon of at least three [x, y] corners.",
    )
    return Outline(corners).contains_points(np.asarray(points, np.float64)[:, :2])

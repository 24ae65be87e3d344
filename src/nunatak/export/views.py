"""From which sides to look at a map, and how to show the states of one that moves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nunatak.export.surface import (
    FRONT,
    SIDE,
    TOP,
    prepare_surface,
    remove_dust,
    render_surface,
    surface_frame,
    surface_level,
)

Picture = NDArray[np.uint8]


def principal_view(weights: NDArray) -> NDArray[np.float64]:
    """(3, 3) view along the thinnest direction of a (d, d, d) zyx map of weights >= 0, its longest upright.

    An ab initio map lies in its box at random; this makes its pictures comparable.
    """
    points = np.argwhere(weights > 0)[:, ::-1].astype(float)
    mass = weights[weights > 0].astype(float)
    if len(points) < 4:
        return FRONT.copy()
    centred = points - np.average(points, axis=0, weights=mass)
    _, axes = np.linalg.eigh((centred * mass[:, None]).T @ centred)
    up, right = axes[:, 2], axes[:, 1]
    # The heavier side on top and to the right, so that the sign does not depend on the eigensolver.
    up, right = (axis * _heavier_side(centred @ axis, mass) for axis in (up, right))
    return np.stack([right, up, np.cross(right, up)])


def render_map(volume: NDArray, level: float | None = None, size_px: int = 320) -> list[Picture]:
    """Three views of a (d, d, d) map: along its thinnest direction, turned by 90 degrees, from above.

    Returns
    -------
    list of (height, width, 4) uint8
        Cut alike to what any of them shows; empty when nothing is above the level.
    """
    level = surface_level(volume) if level is None else level
    cleaned = remove_dust(volume, level)
    frame = surface_frame([cleaned], level)
    if frame is None:
        return []
    surface = prepare_surface(cleaned, level, frame)
    main = principal_view(np.clip(cleaned - level, 0, None))
    return trimmed([render_surface(surface, turn @ main, size_px) for turn in (FRONT, SIDE, TOP)])


def render_states(
    volumes: Sequence[NDArray], level: float | None = None, size_px: int = 220
) -> list[Picture]:
    """The maps of several states from one side, at one level and scale; where they differ is highlighted.

    The side is chosen so that the differences spread over the picture.

    Returns
    -------
    list of (height, width, 4) uint8
        Cut alike to what any of them shows; empty when no map is above the level.
    """
    level = surface_level(np.mean(volumes, axis=0)) if level is None else level
    cleaned = [remove_dust(volume, level) for volume in volumes]
    frame = surface_frame(cleaned, level)
    if frame is None:
        return []
    change = state_change(cleaned, level)
    view = principal_view((np.max(cleaned, axis=0) - level).clip(0) + 2 * level * change)
    surfaces = (prepare_surface(volume, level, frame, change) for volume in cleaned)
    return trimmed([render_surface(surface, view, size_px) for surface in surfaces])


def trimmed(pictures: Sequence[Picture], margin_px: int = 4) -> list[Picture]:
    """RGBA pictures of one size cut alike, so that the emptiness round all of them goes."""
    covered = np.max([picture[..., 3] for picture in pictures], axis=0) > 0
    if not covered.any():
        return list(pictures)
    cuts = []
    for along in (covered.any(1), covered.any(0)):
        filled = np.flatnonzero(along)
        cuts.append(slice(max(0, int(filled[0]) - margin_px), int(filled[-1]) + 1 + margin_px))
    return [picture[cuts[0], cuts[1]] for picture in pictures]


def state_change(volumes: Sequence[NDArray], level: float) -> NDArray[np.float32]:
    """(d, d, d) 0 to 1: how much the maps differ at each place, against the contour level."""
    spread = ndimage.gaussian_filter(np.std(np.stack(volumes), axis=0), 1.0)
    # A voxel that is inside in half of the states has a spread near half its density.
    return np.clip((spread - 0.2 * level) / (0.5 * level), 0, 1).astype(np.float32)


def _heavier_side(positions: NDArray, mass: NDArray) -> float:
    """+1 or -1: where the longer tail of the mass lies."""
    return 1.0 if float(mass @ positions**3) >= 0 else -1.0

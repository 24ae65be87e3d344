"""Pictures of a map's surface, without another program: rays meet the isosurface and are shaded.

Orthographic rays march through the map until it exceeds a level; the crossing is refined by bisection, the
normal is the map's gradient, and light is dimmed where the surroundings are full of density (ambient
occlusion from blurred occupancy). Everything is trilinear sampling, so it runs wherever torch does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

FRONT, SIDE, TOP = (
    np.eye(3),
    np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]),
    np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]),
)
"""Views along the three axes; rows are right, up and towards the eye, in (x, y, z)."""

GLACIER, EMBER = (0.62, 0.74, 0.83), (0.87, 0.53, 0.36)
"""Default colour of a surface, and that of highlighted parts."""

_OVERSAMPLING = 2
_STEPS_PER_BLOCK = 8
_BISECTIONS = 6
_STEP_VOXELS = 1.3
_FINE_SIDE = 112
_KEY_LIGHT = (-0.42, 0.55, 0.72)
_FILL_LIGHT = (0.75, 0.10, 0.65)


@dataclass(frozen=True)
class Frame:
    """The part of a map's box that a picture shows.

    Attributes
    ----------
    centre_px : (z, y, x) int
    radius_px : float
        Of the sphere that holds the surface.
    """

    centre_px: tuple[int, int, int]
    radius_px: float


@dataclass(frozen=True)
class Surface:
    """A map made ready for rendering: cropped and finely sampled.

    Attributes
    ----------
    density : (s, s, s) float32 tensor
        zyx, scaled so that the level is 1.
    occupancy : (2, s, s, s) float32 tensor
        The inside of the surface, blurred narrowly and widely.
    highlight : (s, s, s) float32 tensor
        0 to 1: how much of the highlight colour each place takes.
    radius : float
        Of the smallest centred sphere round the surface, in half sides of the cube.
    """

    density: Tensor
    occupancy: Tensor
    highlight: Tensor
    radius: float


def surface_level(volume: NDArray) -> float:
    """A contour level that shows the particle: Otsu's split of the voxels well above the background.

    Otsu 1979, IEEE Trans. SMC 9, 62, on the voxels brighter than 2 deviations of the map's border.
    """
    outside = _outside_sphere(volume)
    floor = float(np.median(outside) + 2 * outside.std())
    bright = volume[volume > floor]
    if len(bright) < 8 or np.ptp(bright) == 0:
        return float((volume.max() + np.median(volume)) / 2)
    counts, edges = np.histogram(bright, bins=128)
    centres = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    means = sums[:-1] / below[:-1], (sums[-1] - sums[:-1]) / np.maximum(above[:-1], 1)
    split = int(np.argmax(below[:-1] * above[:-1] * (means[0] - means[1]) ** 2))
    # Otsu splits core from rim; the contour belongs between the rim and the background.
    return float(0.5 * (floor + edges[split + 1]))


def surface_frame(volumes: Sequence[NDArray], level: float) -> Frame | None:
    """The frame that holds every (d, d, d) map's surface at a level; None when there is no surface.

    A level of 0 or less lies in the background, and its surface would be the box.
    """
    if level <= 0:
        return None
    inside = np.argwhere(np.logical_or.reduce([volume > level for volume in volumes]))
    if not len(inside):
        return None
    centre = (inside.min(0) + inside.max(0) + 1) // 2
    radius = float(np.sqrt(((inside - centre) ** 2).sum(1).max()))
    return Frame((int(centre[0]), int(centre[1]), int(centre[2])), radius)


def prepare_surface(volume: NDArray, level: float, frame: Frame, highlight: NDArray | None = None) -> Surface:
    """Cut out, upsample and prepare for shading the part of a (d, d, d) map in a frame.

    Parameters
    ----------
    level : float
        Contour level, above 0.
    frame : Frame
        Give the same to several maps for one scale.
    highlight : (d, d, d), optional
        0 to 1: where the surface takes the highlight colour.
    """
    density = torch.from_numpy(_finely_sampled(_cube(volume, frame) / level, order=3))
    inside = (density > 1).float().numpy()
    blurred = np.stack([ndimage.gaussian_filter(inside, s * _FINE_SIDE, truncate=3) for s in (0.02, 0.06)])
    marked = torch.zeros(1, 1, 1)
    if highlight is not None:
        marked = torch.from_numpy(_finely_sampled(_cube(highlight, frame), order=1))
    radius = (frame.radius_px + 1.5) / _half_side_px(frame)
    return Surface(density, torch.from_numpy(blurred), marked, radius)


def render_surface(
    surface: Surface,
    view: NDArray = FRONT,
    size_px: int = 256,
    colour: tuple[float, float, float] = GLACIER,
) -> NDArray[np.uint8]:
    """One view of a surface.

    Parameters
    ----------
    surface : Surface
    view : (3, 3)
        Rows are right, up and towards the eye, in the map's (x, y, z).

    Returns
    -------
    (size_px, size_px, 4) uint8
        RGBA, transparent where no surface is.
    """
    side = size_px * _OVERSAMPLING
    axes = torch.from_numpy(np.asarray(view, np.float32).copy())
    depth = _first_hits(surface, axes, side)
    hit = torch.isfinite(depth).nonzero()[:, 0]
    image = torch.zeros(side * side, 4)
    if len(hit):
        plane = _plane_points(surface.radius, side)[hit]
        points = plane @ axes[:2] + depth[hit, None] * axes[2]
        colours = _shade(surface, points, axes, colour) * _edge_shadow(depth, side, surface.radius)[hit, None]
        image[hit] = torch.cat([colours.clamp(0, 1), torch.ones(len(hit), 1)], 1)
    return _downsampled(image.reshape(side, side, 4))


def remove_dust(volume: NDArray, level: float, smallest_fraction: float = 0.02) -> NDArray[np.float32]:
    """The map with islands above the level that are smaller than a fraction of the largest set below it."""
    islands, count = ndimage.label(volume > level)
    if count < 2:
        return np.asarray(volume, np.float32)
    sizes = np.bincount(islands.ravel())
    sizes[0] = 0
    small = (sizes < smallest_fraction * sizes.max())[islands] & (islands > 0)
    # The islands' slopes go too, or upsampling would raise their rims above the level again.
    near = ndimage.binary_dilation(small, iterations=2) & ~((islands > 0) & ~small)
    return np.where(near, np.minimum(volume, 0.5 * level), volume).astype(np.float32)


def _first_hits(surface: Surface, axes: Tensor, side: int) -> Tensor:
    """(side * side,) depth towards the eye where each ray meets the surface; infinite where it does not."""
    plane = _plane_points(surface.radius, side)
    nearest, farthest = _depth_range(surface, axes, side)
    step = _STEP_VOXELS * 2 / surface.density.shape[0]
    depth = torch.full((len(plane),), torch.inf)
    active = torch.isfinite(nearest).nonzero()[:, 0]
    start = nearest[active]
    while len(active):
        depths = start[:, None] - step * torch.arange(_STEPS_PER_BLOCK)
        points = (plane[active] @ axes[:2])[:, None] + depths[..., None] * axes[2]
        above = _sample(surface.density[None], points)[..., 0] > 1
        found = above.any(1)
        first = above.int().argmax(1)
        depth[active[found]] = depths[found, first[found]]
        start = start - step * _STEPS_PER_BLOCK
        going = ~found & (start > farthest[active])
        active, start = active[going], start[going]
    return _bisected(surface, axes, plane, depth, step)


def _depth_range(surface: Surface, axes: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """(side * side,) depths each, between which a ray can meet the surface; -inf and inf where it cannot.

    From the inside voxels, thrown onto a coarse picture whose cells are wider than a voxel.
    """
    cells = max(8, surface.density.shape[0] // 3)
    inside = (surface.density > 1).nonzero().flip(1).float()
    seen = (inside / (surface.density.shape[0] - 1) * 2 - 1) @ axes.T
    place = ((seen[:, :2] / surface.radius + 1) / 2 * cells).long().clamp(0, cells - 1)
    cell = (cells - 1 - place[:, 1]) * cells + place[:, 0]
    # Rotated voxels reach into the next cell, so every cell takes its neighbours' range, and a voxel more.
    margin = 4 / surface.density.shape[0]
    ranges = []
    for sign in (1, -1):
        coarse = torch.full((cells * cells,), -torch.inf).scatter_reduce(0, cell, sign * seen[:, 2], "amax")
        wide = functional.max_pool2d(coarse.reshape(1, 1, cells, cells), 3, stride=1, padding=1)
        ranges.append(sign * (functional.interpolate(wide, (side, side))[0, 0].reshape(-1) + margin))
    return ranges[0], ranges[1]


def _bisected(surface: Surface, axes: Tensor, plane: Tensor, depth: Tensor, step: float) -> Tensor:
    hit = torch.isfinite(depth)
    inner, outer = depth[hit], depth[hit] + step
    base = plane[hit] @ axes[:2]
    for _ in range(_BISECTIONS):
        middle = (inner + outer) / 2
        above = _sample(surface.density[None], base + middle[:, None] * axes[2])[..., 0] > 1
        inner, outer = torch.where(above, middle, inner), torch.where(above, outer, middle)
    return depth.masked_scatter(hit, inner)


def _shade(surface: Surface, points: Tensor, axes: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """(n, 3) colours of surface points under a key and a fill light, with ambient occlusion and depth."""
    normals = _normals(surface.density, points)
    eye = normals @ axes.T
    key = (eye @ _direction(_KEY_LIGHT)).clamp(min=0)
    fill = (eye @ _direction(_FILL_LIGHT)).clamp(min=0)
    half_way = _direction(tuple(_direction(_KEY_LIGHT) + torch.tensor([0.0, 0.0, 1.0])))
    gloss = (eye @ half_way).clamp(min=0) ** 40
    narrow, wide = _sample(surface.occupancy, points + 0.05 * normals).unbind(-1)
    open_sky = (1 - 0.55 * narrow) * (1 - 0.85 * wide.clamp(max=0.8))
    nearness = ((points @ axes[2]) / surface.radius + 1) / 2
    light = open_sky * (0.38 + 0.62 * key + 0.22 * fill) * (0.80 + 0.26 * nearness)
    marked = _sample(surface.highlight[None], points)
    base = torch.tensor(colour) * (1 - marked) + torch.tensor(EMBER) * marked
    # Hollows take a deeper hue instead of grey, which reads as depth.
    deep = base**1.35
    mix = open_sky.clamp(0, 1)[:, None]
    return (deep * (1 - mix) + base * mix) * (1.42 * light[:, None]) + 0.10 * (gloss * open_sky)[:, None]


def _normals(density: Tensor, points: Tensor) -> Tensor:
    """Outward unit normals by central differences over two voxels."""
    h = 2.4 / density.shape[0]
    offsets = h * torch.eye(3)
    ahead = _sample(density[None], points[:, None] + offsets)[..., 0]
    behind = _sample(density[None], points[:, None] - offsets)[..., 0]
    return functional.normalize(behind - ahead, dim=1)


def _edge_shadow(depth: Tensor, side: int, radius: float) -> Tensor:
    """(side * side,) factor that darkens a thin line where one part stands in front of another."""
    far = torch.where(torch.isfinite(depth), depth, torch.full_like(depth, -2 * radius)).reshape(
        1, 1, side, side
    )
    nearest = functional.max_pool2d(far, 3, stride=1, padding=1)
    farthest = -functional.max_pool2d(-far, 3, stride=1, padding=1)
    jump = torch.maximum(nearest - far, 0.6 * (far - farthest)) / radius
    return 1 - 0.55 * ((jump - 0.10) / 0.12).clamp(0, 1).reshape(-1)


def _plane_points(radius: float, side: int) -> Tensor:
    """(side * side, 2) points (right, up) of the image plane, the first row on top."""
    line = (torch.arange(side) + 0.5) / side * 2 - 1
    up, right = torch.meshgrid(-line, line, indexing="ij")
    return torch.stack([right.reshape(-1), up.reshape(-1)], 1) * radius


def _sample(fields: Tensor, points: Tensor) -> Tensor:
    """Trilinear values of (c, s, s, s) fields at (..., 3) points (x, y, z) in half sides; (..., c)."""
    grid = points.reshape(1, -1, 1, 1, 3)
    values = functional.grid_sample(fields[None], grid, padding_mode="zeros", align_corners=True)
    return values.reshape(len(fields), -1).T.reshape(*points.shape[:-1], len(fields))


def _direction(vector: tuple[float, ...]) -> Tensor:
    return functional.normalize(torch.tensor([float(v) for v in vector]), dim=0)


def _downsampled(image: Tensor) -> NDArray[np.uint8]:
    """Average over the oversampled pixels, colours weighted by coverage."""
    colour, alpha = image[..., :3] * image[..., 3:], image[..., 3:]
    pooled = functional.avg_pool2d(torch.cat([colour, alpha], 2).permute(2, 0, 1)[None], _OVERSAMPLING)[0]
    rgb = pooled[:3] / pooled[3:].clamp(min=1e-6)
    return (torch.cat([rgb, pooled[3:]]).permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


def _finely_sampled(cube: NDArray, order: int) -> NDArray[np.float32]:
    """A cube resampled to the side that rendering works with."""
    factor = _FINE_SIDE / cube.shape[0]
    smooth = ndimage.gaussian_filter(cube, 0.4 / factor) if factor < 1 else cube
    # Interpolation is linear and separable: one matrix for all three axes, read off the unit vectors.
    unit = np.eye(cube.shape[0])
    matrix = ndimage.zoom(unit, (factor, 1), order=order if factor > 1 else 1, mode="nearest")
    fine = smooth.astype(np.float32)
    for _ in range(3):
        fine = np.tensordot(fine, matrix.astype(np.float32), (0, 1))
    return np.ascontiguousarray(fine)


def _half_side_px(frame: Frame) -> int:
    return int(np.ceil(frame.radius_px)) + 3


def _cube(volume: NDArray, frame: Frame) -> NDArray:
    """(2 half + 1)^3 voxels about the frame's centre, padded with zeros where it reaches out of the map."""
    half = _half_side_px(frame)
    padded = np.pad(volume, half)
    return padded[tuple(slice(c, c + 2 * half + 1) for c in frame.centre_px)]


def _outside_sphere(volume: NDArray) -> NDArray:
    line = np.arange(volume.shape[0]) - volume.shape[0] // 2
    squared = line[:, None, None] ** 2 + line[None, :, None] ** 2 + line**2
    return volume[squared > (0.47 * volume.shape[0]) ** 2]

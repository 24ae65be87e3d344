"""Branch and bound: whole regions of poses are rejected by a bound on the best score that they can hold.

After Punjani et al. (2017, Nature Methods 14, 290, supplement). Samples are split at a radius L. The score of
a pose inside L is computed; beyond L, with a the norm of its slice there (CTF and whitening included) and U
the largest such norm over views, an image that is a true slice plus unit noise gives at most

    a U + 4 a - a^2 / 2  <=  U^2 / 2 + 4 U                          (but for 1 in 30,000 images)

A pose whose score inside L plus that is below the full score of some known pose is not the best one. L
doubles, and what remains is divided, until the cells are those of the finest grid.

A coarse cell stands for all poses in it, so the score at its centre needs an allowance of its own (the paper
relies on the score's smoothness): with D half the squared norm of the difference between slices of the centre
and of poses in the cell, the optimum's cell scores D below it, up to noise of variance 2 D. With noise inside
and beyond L independent, the allowance is U^2 / 2 + D + 4 sqrt(U^2 + 2 D). U and D are the largest over a
sample of views. The known pose comes from a dive: the best few cells of the coarsest level, refined greedily.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from nunatak.geometry.rotations import rotation_from_vector
from nunatak.geometry.so3_grid import cell_rotations, child_cells, rotation_grid
from nunatak.projection.operator import slice_block
from nunatak.search.candidates import ImageSamples
from nunatak.search.marching import frequency_march
from nunatak.search.pose_grid import (
    FoundPoses,
    PoseGrid,
    WeightedImages,
    centring_phases,
    score_poses,
    weighted_images,
)

IMAGES_AT_ONCE = 8
SHARED_BYTES = 1 << 28
"""Slices of a whole level are made once for all images where they take no more memory than this."""
SAMPLED_ORDER = 1
"""Views on which the bounds are measured: 48 directions times 12 turns."""


@dataclass(frozen=True)
class BranchConfig:
    """How the tree is searched.

    Attributes
    ----------
    grid : PoseGrid
        Its finest level is what an exhaustive search would look at.
    l_start : int
        Fourier radius at the root; it doubles with every level and ends at the images' own.
    sigmas : float
        Standard deviations of noise that the bounds allow for.
    quantile : float
        Of the sampled poses, how many a coarse cell's allowance covers before any noise is allowed for.
    dives : int
        Cells that are refined greedily for the known pose.
    """

    grid: PoseGrid
    l_start: int = 12
    sigmas: float = 4.0
    dives: int = 4
    quantile: float = 0.95


@dataclass(frozen=True)
class Cells:
    """Cells of one order: k of one image.

    Attributes
    ----------
    pixels, turns : (k,) int64
        Nested HEALPix pixel and index of the psi interval.
    shift_cells : (k, 2) int64
        Index of the shift cell along x and y.
    """

    pixels: Tensor
    turns: Tensor
    shift_cells: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, picked: Tensor) -> Cells:
        return Cells(self.pixels[picked], self.turns[picked], self.shift_cells[picked])


@dataclass(frozen=True)
class BranchResult:
    """What was found, and how the tree was cut.

    Attributes
    ----------
    found : FoundPoses
    visited : (n, levels) int64
        Cells whose scores were computed at each level, root first.
    accepted : (n, levels) int64
        Those that the bound did not reject; the last level rejects nothing.
    """

    found: FoundPoses
    visited: Tensor
    accepted: Tensor

    @property
    def rejected_fraction(self) -> list[float]:
        """Part of the visited cells that was rejected, per level but the last, over all images."""
        kept = self.accepted.double().sum(0) / self.visited.double().sum(0).clamp(min=1)
        return [1 - float(part) for part in kept[:-1]]


@dataclass(frozen=True)
class _Level:
    """One level of the tree.

    Attributes
    ----------
    order : int
    images : WeightedImages
        Cut to the level's radius.
    axis_px : (s,) float32
        Trial shifts along each axis.
    slack : (n,) float32
        Allowance of each image.
    slices : (p, m) complex64 or None
        Of all rotations, shared by all images, where they fit into memory.
    """

    order: int
    images: WeightedImages
    axis_px: Tensor
    slack: Tensor
    slices: Tensor | None


def children_of(cells: Cells, grid: PoseGrid, order: int) -> Cells:
    """The cells of the next order that tile given ones: 8 rotations times 4 shifts, where shifts divide."""
    pixels, turns = child_cells(cells.pixels, cells.turns)
    corner = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], device=pixels.device)
    divide = grid.shifts_divide(order)
    shifts = 2 * cells.shift_cells[:, None] + corner if divide else cells.shift_cells[:, None]
    shape = (len(cells), pixels.shape[1], shifts.shape[1])
    return Cells(
        pixels[:, :, None].expand(shape).flatten(),
        turns[:, :, None].expand(shape).flatten(),
        shifts[:, None].expand(*shape, 2).flatten(0, 2),
    )


def _distinct(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct values, and the place of each key among them."""
    return torch.unique(keys, return_inverse=True)


def _score_cells(block: Tensor, row: int, level: _Level, cells: Cells, grid: PoseGrid) -> Tensor:
    """(k,) scores of one image's cells at their centres, inside the level's radius."""
    turns, steps = 6 * 2**level.order, len(level.axis_px)
    poses, pose = _distinct(cells.pixels * turns + cells.turns)
    shifts, shift = _distinct(cells.shift_cells[:, 0] * steps + cells.shift_cells[:, 1])
    plane = level.images.plane
    if level.slices is None:
        rotations = cell_rotations(grid.base_order, level.order, poses // turns, poses % turns)
        slices = slice_block(block, rotations, plane.frequencies)[..., 0]
    else:
        slices = level.slices[poses]
    trials = torch.stack([level.axis_px[shifts // steps], level.axis_px[shifts % steps]], 1)
    image = level.images.rows(slice(row, row + 1))
    return score_poses(image, slices, centring_phases(trials, plane))[0][shift, pose]


def _score_root(block: Tensor, level: _Level, grid: PoseGrid, rows: slice) -> Tensor:
    """(b, s, p) scores of all cells of the root."""
    plane = level.images.plane
    slices = level.slices
    if slices is None:
        slices = slice_block(block, grid.rotations(level.order, block.device), plane.frequencies)[..., 0]
    trials = torch.cartesian_prod(level.axis_px, level.axis_px).view(-1, 2)
    return score_poses(level.images.rows(rows), slices, centring_phases(trials, plane))


def _root_cells(grid: PoseGrid, device: torch.device) -> Cells:
    """All cells of the root in the order of _score_root's flattened scores: shifts slowest."""
    turns, steps = 6 * 2**grid.base_order, grid.shifts_per_axis(grid.base_order)
    poses = torch.arange(grid.rotation_count(grid.base_order), device=device)
    shifts = torch.arange(steps**2, device=device)
    shift, pose = torch.meshgrid(shifts, poses, indexing="ij")
    pose, shift = pose.flatten(), shift.flatten()
    return Cells(pose // turns, pose % turns, torch.stack([shift // steps, shift % steps], 1))


def _within_cell(order: int, step_px: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """(v, 3, 3) small rotations and (v, 2) shifts that fill a cell evenly, one for each sampled view."""
    views = len(rotation_grid(SAMPLED_ORDER))
    # Unscrambled: the same numbers every time.
    even = torch.quasirandom.SobolEngine(5).draw(views + 1)[1:].to(device) - 0.5
    turns = rotation_from_vector(even[:, :3].double() * math.radians(60 / 2**order)).float()
    return turns, even[:, 3:] * step_px


def allowance(
    block: Tensor, images: WeightedImages, radius_px: int, config: BranchConfig, order: int
) -> Tensor:
    """(n,) by how much a cell's score inside a radius may lie below the full score of a pose in it.

    Parameters
    ----------
    block : (m, m, h, 1) complex64
    images : WeightedImages
        To the full radius.
    radius_px : int
        L of the level.
    order : int
        Of the cell; at the grid's own order a cell is a pose.
    """
    device, grid = block.device, config.grid
    views = rotation_grid(SAMPLED_ORDER).rotations().to(device)
    frequencies = images.plane.frequencies
    slices = slice_block(block, views, frequencies)[..., 0]
    inside = images.plane.count_within(radius_px)
    beyond = images.power[:, inside:] @ (slices[:, inside:].abs() ** 2).T
    largest = (
        beyond.max(1).values.sqrt() if inside < len(frequencies) else images.power.new_zeros(len(images))
    )
    if order >= grid.order:
        return 0.5 * largest**2 + config.sigmas * largest
    step_px = grid.shift_step_at(order) if grid.shift_extent_px > 0 else 0.0
    turns, moves = _within_cell(order, step_px, device)
    near = slice_block(block, turns @ views, frequencies[:inside])[..., 0]
    plane = images.within(radius_px).plane
    difference = slices[:, :inside] - near * centring_phases(moves, plane)
    # Half the squared distance between the cell's centre and a pose in it.
    losses = 0.5 * (images.power[:, :inside] @ (difference.abs() ** 2).T)
    loss = losses.quantile(config.quantile, dim=1)
    # Noise inside and beyond is independent: its variances add.
    return 0.5 * largest**2 + loss + config.sigmas * (largest**2 + 2 * loss).sqrt()


def _levels(block: Tensor, images: WeightedImages, config: BranchConfig) -> list[_Level]:
    grid, limit = config.grid, images.plane.radius_px
    depth = grid.order - grid.base_order
    radii = (*frequency_march(config.l_start, limit, depth, "doubling")[:-1], limit)
    levels = []
    for order, radius in zip(range(grid.base_order, grid.order + 1), radii, strict=True):
        count = grid.shifts_per_axis(order)
        axis = (torch.arange(count, device=block.device) - (count - 1) / 2) * grid.shift_step_at(order)
        slack = allowance(block, images, radius, config, order)
        inside, slices = images.within(radius), None
        if 8 * grid.rotation_count(order) * len(inside.plane) <= SHARED_BYTES:
            rotations = grid.rotations(order, block.device)
            slices = slice_block(block, rotations, inside.plane.frequencies)[..., 0]
        levels.append(_Level(order, inside, axis, slack, slices))
    return levels


def _dive(
    block: Tensor, row: int, levels: list[_Level], cells: Cells, config: BranchConfig
) -> tuple[Tensor, Cells, int]:
    """Full score of the best pose below some cells, that pose, and how many poses it took."""
    taken, scores = 0, torch.empty(0, device=block.device)
    for coarser, level in pairwise(levels):
        cells = children_of(cells, config.grid, coarser.order)
        scores = _score_cells(block, row, level, cells, config.grid)
        taken += len(cells)
        cells = cells[scores.topk(min(config.dives, len(cells))).indices]
    return scores.max(), cells[torch.zeros(1, dtype=torch.long, device=block.device)], taken


def _search_image(
    block: Tensor,
    row: int,
    levels: list[_Level],
    root: tuple[Cells, Tensor],
    config: BranchConfig,
    watch: Callable[[int, int, Cells], None],
) -> tuple[Cells, Tensor, list[tuple[int, int]], int]:
    """The best cell of one image with its score, (visited, accepted) of each level, and the dive's cost."""
    cells, scores = root
    counts = []
    if len(levels) == 1:
        best = scores.argmax()
        return cells[best[None]], scores[best], [(len(cells), len(cells))], 0
    top = scores.topk(min(config.dives, len(cells))).indices
    known, pose, taken = _dive(block, row, levels, cells[top], config)
    for level, deeper in pairwise(levels):
        kept = torch.nonzero(scores + level.slack[row] >= known).flatten()
        counts.append((len(cells), len(kept)))
        cells = cells[kept]
        watch(row, level.order, cells)
        cells = children_of(cells, config.grid, level.order)
        scores = _score_cells(block, row, deeper, cells, config.grid) if len(cells) else scores[:0]
    counts.append((len(cells), len(cells)))
    if len(cells) and scores.max() >= known:
        best = scores.argmax()
        return cells[best[None]], scores[best], counts, taken
    return pose, known, counts, taken


def _nobody(row: int, order: int, cells: Cells) -> None:
    """Nobody watches."""


def branch_and_bound_search(
    block: Tensor,
    images: ImageSamples,
    noise_weights: Tensor,
    config: BranchConfig,
    progress: Callable[[float], None] = lambda fraction: None,
    watch: Callable[[int, int, Cells], None] = _nobody,
) -> BranchResult:
    """The best pose of a grid for every image, without looking at most of the grid.

    Parameters
    ----------
    block : (m, m, h, 1) complex64
        Of the map, for a radius of at least the images'.
    images : ImageSamples
        n images, cut to the radius of the search.
    noise_weights : (shells,) float32
        2 / sigma^2.
    progress : function of the fraction done
    watch : function of an image's row, an order, and its cells that were accepted there
    """
    grid, device, count = config.grid, block.device, len(images)
    levels = _levels(block, weighted_images(images, noise_weights), config)
    root = _root_cells(grid, device)
    best, scores, counts, taken = [], [], [], []
    for start in range(0, count, IMAGES_AT_ONCE):
        rows = slice(start, min(start + IMAGES_AT_ONCE, count))
        table = _score_root(block, levels[0], grid, rows).flatten(1)
        for row in range(rows.start, rows.stop):
            found = _search_image(block, row, levels, (root, table[row - start]), config, watch)
            best.append(found[0])
            scores.append(found[1])
            counts.append(found[2])
            taken.append(found[3])
        progress(rows.stop / count)
    visited, accepted = torch.tensor(counts, device=device).view(count, len(levels), 2).unbind(2)
    pixels, turns = torch.cat([c.pixels for c in best]), torch.cat([c.turns for c in best])
    axis = levels[-1].axis_px
    found_poses = FoundPoses(
        cell_rotations(grid.base_order, grid.order, pixels, turns),
        axis[torch.cat([c.shift_cells for c in best])],
        torch.stack(scores),
        visited.sum(1) + torch.tensor(taken, device=device),
    )
    return BranchResult(found_poses, visited, accepted)

"""Exhaustive search: every rotation of a grid with every shift, and the best of them.

Brute-force projection matching (Penczek et al. 1994), the yardstick of every faster search: nothing is left
out, so its result is the optimum of the grid. Two matrix products per image and block of rotations.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nunatak.core import device as devices
from nunatak.projection.operator import slice_block
from nunatak.search.candidates import ImageSamples
from nunatak.search.pose_grid import FoundPoses, PoseGrid, centring_phases, score_poses, weighted_images

ROTATIONS_AT_ONCE = 2048


def exhaustive_search(
    block: Tensor,
    images: ImageSamples,
    noise_weights: Tensor,
    grid: PoseGrid,
    progress: Callable[[float], None] = lambda fraction: None,
) -> FoundPoses:
    """The best pose of the whole grid for every image.

    Parameters
    ----------
    block : (m, m, h, 1) complex64
        Of the map, from nunatak.projection.gridding.block_from_maps, for a radius of at least the images'.
    images : ImageSamples
        n images, cut to the radius of the search.
    noise_weights : (shells,) float32
        2 / sigma^2.
    progress : function of the fraction done
    """
    device, count = block.device, len(images)
    prepared = weighted_images(images, noise_weights)
    rotations = grid.rotations(grid.order, device)
    shifts_px = grid.shifts_px(grid.order, device)
    phases = centring_phases(shifts_px, images.plane)
    best = torch.full((count,), -torch.inf, device=device)
    place = torch.zeros(count, dtype=torch.long, device=device)
    at_once = devices.rows_that_fit(8 * len(phases) * (ROTATIONS_AT_ONCE + len(images.plane)), device)
    for number, chunk in enumerate(rotations.split(ROTATIONS_AT_ONCE)):
        first = number * ROTATIONS_AT_ONCE
        slices = slice_block(block, chunk, images.plane.frequencies)[..., 0]
        for start in range(0, count, at_once):
            rows = slice(start, start + at_once)
            scores = score_poses(prepared.rows(rows), slices, phases)
            top, where = scores.flatten(1).max(1)
            # From (shift, rotation of the chunk) to (shift, rotation of the grid).
            where = where // len(chunk) * len(rotations) + where % len(chunk) + first
            better = top > best[rows]
            best[rows] = torch.where(better, top, best[rows])
            place[rows] = torch.where(better, where, place[rows])
        progress(min(1.0, (first + len(chunk)) / len(rotations)))
    return FoundPoses(
        rotations[place % len(rotations)],
        shifts_px[place // len(rotations)],
        best,
        torch.full((count,), grid.candidates, device=device),
    )

#!/usr/bin/env python3
"""How often cheaper searches find the exhaustive optimum, and at what part of its evaluations.

    python benchmarks/search_optimum.py particles.star --truth truth.star --images 500 --threads 2

Every image is compared with every pose of a grid of 3.75 degrees with shifts, against a map made from other
particles at their true poses; then branch and bound searches the same grid, and the hierarchical search
refines to the same step. An evaluation is one pose (rotation and shift) compared with one image, at any
radius. All three end on the same poses: the levels of the hierarchical search halve rotation and shift until
they are at the grid's own steps. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
sys.path.insert(0, str(Path(__file__).parent))

import torch
from child import machine, report
from hierarchical_search import cached, map_at_poses
from torch import Tensor

from nunatak.geometry.rotations import geodesic_deg
from nunatak.particles.cache import ImageCache
from nunatak.particles.reading import read_particles
from nunatak.projection.gridding import block_from_maps
from nunatak.search.branch_and_bound import BranchConfig, branch_and_bound_search
from nunatak.search.candidates import ImageSamples
from nunatak.search.exhaustive import exhaustive_search
from nunatak.search.hierarchical import HierarchicalConfig, hierarchical_search, polar_batch
from nunatak.search.pose_grid import FoundPoses, PoseGrid, coarsest_shift_step_px

BASE_ORDER = 2


def cut(cache: ImageCache, radius_px: int) -> ImageSamples:
    """All images of a cache inside a radius."""
    from nunatak.reconstruct.model import images_within

    return images_within(cache, torch.arange(len(cache)), radius_px)


def agreement(found: tuple[Tensor, Tensor], optimum: FoundPoses, grid: PoseGrid) -> dict[str, float]:
    """Parts of the images whose pose is the optimum's, and whose pose is a neighbour of it at most."""
    angle = geodesic_deg(found[0], optimum.rotations)
    step_deg = 60 / 2**grid.order
    shift = (found[1] - optimum.shifts_px).abs().amax(1)
    same = (angle < 0.5 * step_deg) & (shift <= 0.5 * grid.shift_step_px + 1e-4)
    near = (angle < 1.5 * step_deg) & (shift <= 1.5 * grid.shift_step_px + 1e-4)
    return {
        "found": round(float(same.double().mean()), 4),
        "within_a_step": round(float(near.double().mean()), 4),
    }


def hierarchical_levels(grid: PoseGrid, l_start: int, radius_px: int, kept: int) -> HierarchicalConfig:
    """From the published grid of 15 degrees to the grid's own steps, in rotations and in shifts."""
    levels = grid.order - BASE_ORDER
    # The published rule gives t_n_grid 2^(base order - 1) trial shifts along each axis.
    across = 2 * grid.shift_extent_px / (grid.shift_step_px * 2**levels)
    return HierarchicalConfig(
        l_start=l_start,
        l_end=radius_px,
        n_iter=levels,
        t_extent=grid.shift_extent_px,
        t_n_grid=max(1, round(across / 2 ** (BASE_ORDER - 1))),
        n_kept_poses=kept,
        base_healpy=BASE_ORDER,
    )


def measure(options: argparse.Namespace) -> dict[str, object]:
    """All three searches on the same images and map."""
    torch.set_num_threads(options.threads)
    particles = read_particles(Path(options.particles))
    truth = read_particles(Path(options.truth), require_images=False).poses
    rows = torch.arange(min(options.images, len(particles)))
    behind = torch.arange(len(rows), min(len(particles), len(rows) + options.map_images))
    used = behind if len(behind) else rows
    cpu = torch.device("cpu")
    cache, radius = cached(particles, rows, cpu), min(options.radius_px, (particles.box_px - 1) // 2)
    maps = map_at_poses(cached(particles, used, cpu), truth[used], radius)
    block, weights = block_from_maps(maps, radius), 2 / cache.background_power
    images = cut(cache, radius)
    coarsest = coarsest_shift_step_px(particles.box_px, options.l_start)
    grid = PoseGrid(options.order, BASE_ORDER, options.shift_extent_px, options.shift_step_px, coarsest)
    began = time.perf_counter()
    optimum = exhaustive_search(block, images, weights, grid)
    exhaustive_s = time.perf_counter() - began
    began = time.perf_counter()
    bounded = branch_and_bound_search(block, images, weights, BranchConfig(grid, options.l_start))
    bound_s = time.perf_counter() - began
    config = hierarchical_levels(grid, options.l_start, radius, options.kept)
    began = time.perf_counter()
    polar = polar_batch(images, cache.transfer_at(config.plane.frequencies), weights, config)
    kept = hierarchical_search(block, images, polar, weights, config)
    hierarchical_s = time.perf_counter() - began
    per_level = 8 * config.n_kept_poses * config.shifts_per_axis**2
    taken = 72 * 8**config.base_healpy * config.shifts_per_axis**2 + config.n_iter * per_level
    error = geodesic_deg(optimum.rotations, truth.rotations[rows])
    scores = kept.best[2] - optimum.scores
    return {
        "images": len(rows),
        "box_px": particles.box_px,
        "radius_px": radius,
        "step_deg": 60 / 2**grid.order,
        "shifts": grid.shifts_per_axis(grid.order) ** 2,
        "exhaustive": {
            "evaluations_per_image": grid.candidates,
            "seconds": round(exhaustive_s, 2),
            "rot_median_deg": round(float(error.median()), 2),
        },
        "branch_and_bound": {
            **agreement((bounded.found.rotations, bounded.found.shifts_px), optimum, grid),
            "evaluations_of_exhaustive": round(
                float(bounded.found.evaluations.double().mean()) / grid.candidates, 5
            ),
            "rejected_fraction": [round(part, 4) for part in bounded.rejected_fraction],
            "seconds": round(bound_s, 2),
        },
        "hierarchical": {
            **agreement(kept.best[:2], optimum, grid),
            "at_least_its_score": round(float((scores > -0.5).double().mean()), 4),
            "evaluations_of_exhaustive": round(taken / grid.candidates, 5),
            "t_n_grid": config.t_n_grid,
            "n_kept_poses": config.n_kept_poses,
            "seconds": round(hierarchical_s, 2),
        },
        "machine": machine(options.threads),
    }


def main() -> None:
    """Measure and report."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("particles", help="RELION star file with CTF, its stacks beside it")
    made.add_argument("--truth", required=True, help="star file with the true poses of the same rows")
    made.add_argument("--images", type=int, default=500)
    made.add_argument("--map-images", type=int, default=3000, help="images for the map at true poses")
    made.add_argument("--order", type=int, default=4, help="HEALPix order of the grid; 4 is 3.75 degrees")
    made.add_argument("--radius-px", type=int, default=32)
    made.add_argument("--l-start", type=int, default=16)
    made.add_argument("--kept", type=int, default=64, help="poses that the hierarchical search keeps")
    made.add_argument("--shift-extent-px", type=float, default=4.0)
    made.add_argument("--shift-step-px", type=float, default=0.5)
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("-o", "--output", help="write the JSON there too")
    options = made.parse_args()
    report(measure(options), options.output)


if __name__ == "__main__":
    main()

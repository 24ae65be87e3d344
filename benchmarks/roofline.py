#!/usr/bin/env python3
"""Ceilings of one core, and how near the engine's steps come to them.

    python benchmarks/roofline.py --box-px 64 --images 400

Ceilings are a matrix product in float32 and in bfloat16, and a copy that fits into no cache. Steps are the
global search, local evaluations and sums of simulated images; operations and bytes are those of
nunatak.reconstruct.cost. One thread, processor time, least of a few: other programs then matter little.
Prints one JSON object.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import torch
from child import machine, report

from nunatak.particles.cache import build_cache
from nunatak.projection.gridding import block_from_maps
from nunatak.reconstruct import cost
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.consensus import PolarImages
from nunatak.reconstruct.cost import Ceilings, Cost
from nunatak.reconstruct.fixed import given_poses_pass
from nunatak.reconstruct.model import SearchPlan, expect, particle_sums
from nunatak.reconstruct.state import Context, RunState
from nunatak.runs.machine import use_machine
from nunatak.search.local import LocalPrior
from nunatak.search.marginal import marginal_step, trial_shifts
from nunatak.search.slice_bank import scoring_dtype, slice_bank
from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.dataset import simulate_particles


def cpu_s(step: Callable[[], object], repeat: int = 3) -> float:
    """Least processor time of a step, after one that does not count."""
    step()
    found = []
    for _ in range(repeat):
        began = time.process_time()
        step()
        found.append(time.process_time() - began)
    return min(found)


def product_flop_per_s(dtype: torch.dtype, size: int = 1024) -> float:
    """Rate of a square matrix product."""
    a, b = (torch.ones(size, size, dtype=dtype) for _ in range(2))
    return 2 * size**3 / cpu_s(lambda: a @ b)


def copy_bytes_per_s(count: int = 1 << 25) -> float:
    """Rate of a copy, read and written bytes."""
    source = torch.zeros(count)
    target = torch.empty_like(source)
    return 8 * count / cpu_s(lambda: target.copy_(source))


def step_figures(spent_s: float, counted: Cost, ceilings: Ceilings, images: int) -> dict[str, float]:
    """What a step took, counted, and reached."""
    return {
        "ms_per_image": round(1e3 * spent_s / images, 4),
        "MFLOP_per_image": round(counted.flop / images / 1e6, 3),
        "GFLOP_per_s": round(counted.flop / spent_s / 1e9, 2),
        "times_ceiling": round(spent_s / counted.least_s(ceilings), 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--box-px", type=int, default=64)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("-o", "--output", help="write the JSON object to a file as well")
    options = parser.parse_args()
    use_machine("cpu", 1)
    rates = {"float32": product_flop_per_s(torch.float32), "bfloat16": product_flop_per_s(torch.bfloat16)}
    copied = copy_bytes_per_s()
    plain = Ceilings(rates["float32"], copied)
    given, truth = simulate_particles(
        SimulationConfig(particles=options.images, box_px=options.box_px, snr=0.1, seed=0)
    )
    cache = build_cache(given, 1, 0.42 * options.box_px)
    context = Context(cache, EngineConfig(latent_dim=0), truth.poses)
    model = given_poses_pass(RunState(), context).oriented
    steps: dict[str, dict[str, float]] = {}
    rows = torch.arange(options.images)
    images = PolarImages(cache, context.noise_variance, context.consensus)
    radius = context.consensus.radius_end_px
    plane = images.plane.within(radius)
    block = block_from_maps(model.maps.mean(0), radius)
    trials = trial_shifts(images.shifts_px, images.phases[:, : len(plane)].contiguous(), 2.0)
    batch = images.batch(rows[:100], radius)
    directions, turns = len(images.grid.directions), images.grid.in_plane_count
    for name, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        bank = slice_bank(block, images.grid, plane, dtype)
        counted = cost.global_search(radius, directions, turns, len(images.shifts_px), bank.by_residue) * 100
        spent = cpu_s(lambda bank=bank: marginal_step(bank, batch, trials))
        chosen = " (taken by the engine)" if dtype == scoring_dtype(cache.samples.device) else ""
        ceiling = Ceilings(rates[name], copied)
        steps[f"global search, radius {radius}, {name}{chosen}"] = step_figures(spent, counted, ceiling, 100)
    for reach in (radius, context.limit_px):
        still = SearchPlan(reach, torch.zeros(1, 3), 2, LocalPrior())
        spent = cpu_s(lambda still=still: expect(model, cache, still))
        counted = cost.local_evaluation(reach, 0) * (3 * len(rows))
        steps[f"local search, 3 evaluations, radius {reach}"] = step_figures(spent, counted, plain, len(rows))
        spent = cpu_s(lambda reach=reach: particle_sums(model, cache, reach, rows))
        counted = cost.insertion(reach, 0) * len(rows)
        steps[f"sums, radius {reach}"] = step_figures(spent, counted, plain, len(rows))
    ceilings = {f"{name}_GFLOP_per_s": round(rate / 1e9, 1) for name, rate in rates.items()}
    report(
        {**machine(1), **ceilings, "copy_GB_per_s": round(copied / 1e9, 1), "steps": steps}, options.output
    )


if __name__ == "__main__":
    main()

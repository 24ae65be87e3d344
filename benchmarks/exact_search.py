#!/usr/bin/env python3
"""Pose search through a bank of maps against the volume evaluated at every pose of every image, as published.

    python benchmarks/exact_search.py SIMULATED --images 60 --decoder network --threads 1

A volume is trained at the true poses (recipe cryodrgn-ai-fixed); then some images are searched from nothing
with it and their trained latents, both ways, at the published hyper-parameters. Prints one JSON object:
images per second, and median errors against the truth in the frame of the true poses.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import torch
from child import machine, report
from torch import Tensor

from nunatak.geometry.rotations import geodesic_deg
from nunatak.particles.reading import read_particles
from nunatak.particles.truth import read_truth
from nunatak.reconstruct.autodecoder import latent_table
from nunatak.reconstruct.bank_search import (
    BankConfig,
    BankPoses,
    bank_for,
    reference_search,
    search_with_bank,
)
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.loop import run
from nunatak.reconstruct.model import images_within
from nunatak.reconstruct.neural_model import Training, resumed
from nunatak.reconstruct.parts import given_poses
from nunatak.reconstruct.prepare import prepare
from nunatak.reconstruct.recipes import find_recipe
from nunatak.reconstruct.searching import hierarchical_config
from nunatak.reconstruct.stages import PoseSource
from nunatak.reconstruct.state import Context, RunState
from nunatak.runs.machine import use_machine

_WARM = 4


def trained(context: Context) -> RunState:
    """The state once the volume and the latents are trained, before maps are made of them."""
    plan = find_recipe("cryodrgn-ai-fixed", PoseSource.GIVEN).plan(context.config)
    wanted = len(given_poses(context.config)) + 1
    return run(replace(plan, stages=plan.stages[:wanted]), context)


def figures(found: BankPoses, seconds: float, true: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Speed and errors."""
    off = geodesic_deg(found.rotations, true[0])
    moved = (found.shifts_px - true[1]).norm(dim=1)
    return {
        "images_per_s": round(len(off) / seconds, 3),
        "rot_median_deg": round(float(off.median()), 3),
        "rot_within_10deg": round(float((off < 10).float().mean()), 3),
        "shift_median_px": round(float(moved.median()), 3),
    }


def both_ways(context: Context, state: RunState, true: tuple[Tensor, Tensor], count: int) -> dict[str, Any]:
    """Figures of the two searches on the first images."""
    training: Training = resumed(state, context)
    config, cache = context.config, context.cache
    search = hierarchical_config(config, training.radius_px, cache.plane.box_px)
    closeness = BankConfig(config.bank_latents, config.bank_rank, config.bank_cell)
    field, latents = training.networks.decoder, latent_table(state).latents
    rows = torch.arange(count, device=context.device)
    bank = bank_for(field, latents, search.l_end, closeness)

    def through_bank(some: Tensor) -> BankPoses:
        shared = (bank[0], bank[1][some])
        return search_with_bank(shared, cache, some, training.noise_variance, (search, closeness))

    through_bank(rows[:_WARM])
    began = time.perf_counter()
    found = through_bank(rows)
    spent = time.perf_counter() - began
    began = time.perf_counter()
    images = images_within(cache, rows, search.l_end)
    exact = reference_search(field, latents[rows], images, training.noise_variance, search)
    exact_spent = time.perf_counter() - began
    part = true[0][:count], true[1][:count]
    return {
        "bank": figures(found, spent, part),
        "exact": figures(exact, exact_spent, part),
        "times_as_fast": round(exact_spent / spent, 1),
        "apart_median_deg": round(float(geodesic_deg(found.rotations, exact.rotations).median()), 3),
    }


def main() -> None:
    """Parse the command line, train, search, print."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("simulated", type=Path)
    parser.add_argument("--images", type=int, default=60, help="that are searched")
    parser.add_argument("--train-images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--latent-dim", type=int, default=4)
    parser.add_argument("--decoder", choices=["network", "grid"], default="network")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--l-end", type=int, help="32 by default, or as far as images go")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="0: all")
    options = parser.parse_args()
    device, threads = use_machine(options.device, options.threads)
    particles = read_particles(options.simulated / "truth.star")
    particles = particles.subset(torch.arange(min(options.train_images, len(particles))))
    ends = {"l_end": options.l_end} if options.l_end else {}
    config = EngineConfig(
        recipe="cryodrgn-ai-fixed",
        decoder=options.decoder,
        decoder_width=options.width,
        latent_dim=options.latent_dim,
        epochs=options.epochs,
        **ends,
    )
    context, truth = prepare(particles, config, True, device=device), read_truth(options.simulated)
    true = truth.rotations.to(device), truth.shifts_A.to(device) / particles.pixel_size_A
    found = both_ways(context, trained(context), true, options.images)
    report({"benchmark": "exact_search", "machine": machine(threads), "decoder": options.decoder} | found)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Milliseconds per image of the engine's steps on one device, GPU or CPU.

    python benchmarks/device_steps.py --device cuda --images 20000 --box-px 128

The global search is one expectation step and its sums over 192 directions, 32 in-plane angles and 29 shifts
at a radius of 28 Fourier pixels, the size at which 0.094 ms per image were published for an H100. Local
searches (three evaluations) and sums are those of the last passes, with so many latent dimensions. Images are
noise: what is timed does not depend on them. Wall time, the median of a few after one that does not count.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import torch
from child import machine, report
from torch import Tensor

from nunatak.core.device import to_device
from nunatak.core.fourier import half_plane
from nunatak.geometry.rotations import random_rotations
from nunatak.geometry.so3_grid import RotationGrid, rotation_grid, shift_disk
from nunatak.particles.cache import ImageCache
from nunatak.projection.gridding import block_from_maps
from nunatak.reconstruct.model import Model, SearchPlan, expect, particle_sums
from nunatak.runs.machine import use_machine
from nunatak.search.candidates import Candidates
from nunatak.search.local import LocalPrior
from nunatak.search.marginal import ImageBatch, marginal_step, shift_phases, trial_shifts
from nunatak.search.polar import polar_plane
from nunatak.search.slice_bank import scoring_dtype, slice_bank
from nunatak.volumes.maps import soft_sphere


def wall_s(step: Callable[[], object], device: torch.device, repeat: int = 5) -> float:
    """Median wall time of a step, the device's queue empty before and after."""
    found = []
    for _ in range(repeat + 1):
        synchronise(device)
        began = time.perf_counter()
        step()
        synchronise(device)
        found.append(time.perf_counter() - began)
    return statistics.median(found[1:])


def synchronise(device: torch.device) -> None:
    """Wait for what the device has been given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def blob_maps(count: int, box_px: int, device: torch.device) -> Tensor:
    """(count, b, b, b) smooth random maps inside a sphere."""
    noise = torch.randn(count, box_px, box_px, box_px, generator=torch.Generator().manual_seed(1)).to(device)
    return noise * soft_sphere(box_px, 0.3 * box_px, 2.0, device)


def search_s(device: torch.device, images: int, radius_px: int, box_px: int) -> float:
    """Wall time of one global search step of a batch of images."""
    directions = rotation_grid(2).directions
    grid, plane = to_device((RotationGrid(2, directions, 32), polar_plane(radius_px, 32)), device)
    draw = torch.Generator().manual_seed(2)
    samples = torch.randn(images, len(plane), 2, generator=draw).to(device)
    transfer = torch.rand(images, len(plane), generator=draw).to(device)
    batch = ImageBatch(torch.view_as_complex(samples), transfer)
    bank = slice_bank(
        block_from_maps(1e-3 * blob_maps(1, 64, device), radius_px), grid, plane, scoring_dtype(device)
    )
    shifts = shift_disk(4.5, 1.5).to(device)
    trials = trial_shifts(shifts, shift_phases(shifts, plane, box_px), 2.0)
    return wall_s(lambda: marginal_step(bank, batch, trials), device)


def noise_cache(images: int, box_px: int, device: torch.device) -> ImageCache:
    """Samples of pure noise, made on the device."""
    plane = to_device(half_plane(box_px, (box_px - 1) // 2), device)
    samples = torch.randn(images, len(plane), dtype=torch.complex64, device=device)
    transfer = torch.rand(images, len(plane), device=device)
    background = torch.ones(plane.radius_px + 1, device=device)
    return ImageCache(samples, transfer, plane, 3.0, background, torch.zeros(0, dtype=torch.long), None)


def random_model(cache: ImageCache, latent_dim: int) -> Model:
    """Random poses and latents with smooth maps."""
    count, device = len(cache), cache.samples.device
    draw = torch.Generator().manual_seed(3)
    candidates = Candidates(
        random_rotations(count, draw).float().to(device),
        torch.randn(count, 2, generator=draw).to(device),
        torch.ones(count, device=device),
        torch.randn(count, latent_dim, generator=draw).to(device),
        torch.arange(count, device=device),
    )
    box = cache.plane.box_px
    return Model(
        1e-3 * blob_maps(1 + latent_dim, box, device)[None],
        cache.plane.radius_px,
        torch.ones(1 + latent_dim, cache.plane.radius_px + 1, device=device),
        candidates,
        torch.eye(latent_dim, device=device).expand(count, -1, -1).contiguous(),
        cache.background_power,
        torch.arange(count, device=device) % 2,
        torch.zeros(count, device=device),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--box-px", type=int, default=128)
    parser.add_argument("--latent-dim", type=int, default=4)
    parser.add_argument("--search-batch", type=int, nargs="+", default=[100, 400])
    parser.add_argument("-o", "--output", help="write the JSON object to a file as well")
    options = parser.parse_args()
    device, threads = use_machine(options.device, 0)
    figures: dict[str, float] = {}
    for batch in options.search_batch:
        spent = search_s(device, batch, 28, options.box_px)
        figures[f"global search, batch of {batch}"] = 1e3 * spent / batch
    cache = noise_cache(options.images, options.box_px, device)
    model, rows = random_model(cache, options.latent_dim), torch.arange(options.images, device=device)
    reach = cache.plane.radius_px
    for radius in sorted({min(20, reach), min(40, reach), reach}):
        still = SearchPlan(radius, torch.zeros(1, 3), 2, LocalPrior())
        spent = wall_s(lambda still=still: expect(model, cache, still), device, 3)
        figures[f"local search, radius {radius}"] = 1e3 * spent / len(rows)
        spent = wall_s(lambda radius=radius: particle_sums(model, cache, radius, rows), device, 3)
        figures[f"sums, radius {radius}"] = 1e3 * spent / len(rows)
    name = torch.cuda.get_device_name() if device.type == "cuda" else machine(threads)
    rounded = {step: round(value, 5) for step, value in figures.items()}
    report({"device": name, "ms_per_image": rounded}, options.output)


if __name__ == "__main__":
    main()

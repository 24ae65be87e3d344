#!/usr/bin/env python3
"""Seconds of a refinement pass with the images' samples in memory and on the disk, one after the other.

    python benchmarks/streaming.py truth.star --threads 2 --folder /scratch/cache

A pass is two steps of the local search for every image and the sums for both half maps, at the star file's
poses. Before each pass from the disk the file's pages are dropped from the system's memory (`--warm` leaves
them), so that every byte is read again. `cost` is the disk's median over memory's. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import torch
from child import machine, report

from nunatak.particles.cache import CachePlan, ImageCache, Tiles
from nunatak.particles.cache_files import CachePlace
from nunatak.particles.reading import read_particles
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.fixed import given_poses_pass
from nunatak.reconstruct.model import Model, SearchPlan, expect, half_sums
from nunatak.reconstruct.prepare import prepare
from nunatak.reconstruct.state import RunState
from nunatak.runs.machine import peak_memory_MB, use_machine
from nunatak.search.local import LocalPrior


def one_pass(model: Model, cache: ImageCache, radius_px: int) -> float:
    """Seconds of the expectation and of the sums."""
    began = time.perf_counter()
    moved, _ = expect(model, cache, SearchPlan(radius_px, torch.zeros(1, 3), 2, LocalPrior()))
    half_sums(moved, cache, radius_px)
    return time.perf_counter() - began


def forget(folder: Path) -> None:
    """Let the system drop what it holds of the cache's files."""
    for path in folder.glob("*.float*"):
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Times of passes, memory and disk by turns."""
    particles, config = read_particles(options.particles), EngineConfig(latent_dim=0)
    tiles = Tiles(local=options.tile)
    began = time.perf_counter()
    stored = prepare(
        particles, config, True, plan=CachePlan(tiles=tiles, place=CachePlace(folder, options.precision))
    )
    made_s = time.perf_counter() - began
    held = prepare(particles, config, True, plan=CachePlan(tiles=tiles))
    model = given_poses_pass(RunState(), held).oriented
    radius_px = min(options.radius_px or held.limit_px, held.limit_px)
    model = replace(model, maps=model.maps.mean(0, keepdim=True))
    times: dict[str, list[float]] = {"memory": [], "disk": []}
    turns: list[tuple[str, ImageCache, Callable[[], None]]] = [
        ("memory", held.cache, lambda: None),
        ("disk", stored.cache, (lambda: None) if options.warm else lambda: forget(folder)),
    ]
    one_pass(model, held.cache, radius_px)
    for _ in range(options.repeat):
        for name, cache, before in turns:
            before()
            times[name].append(round(one_pass(model, cache, radius_px), 3))
    size = sum(path.stat().st_size for path in folder.glob("*.float*"))
    return {
        "particles": len(particles),
        "box_px": particles.box_px,
        "radius_px": radius_px,
        "precision": options.precision,
        "file_MB": round(size / 1e6, 1),
        "file_made_s": round(made_s, 2),
        "pass_s": times,
        "cost": round(median(times["disk"]) / median(times["memory"]), 3),
        "peak_memory_MB": round(peak_memory_MB(), 1),
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("particles", help="star file with poses")
    parser.add_argument("--folder", help="where the file lies; a temporary folder by default")
    parser.add_argument("--precision", default="float32", choices=["float32", "float16"])
    parser.add_argument("--radius-px", type=int, help="Fourier radius; all that the box has by default")
    parser.add_argument("--tile", type=int, default=4096, help="images at a time")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--warm", action="store_true", help="leave the file in the system's memory")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--output", help="write the JSON object to a file as well")
    options = parser.parse_args()
    use_machine("cpu", options.threads)
    with tempfile.TemporaryDirectory(prefix="nunatak_") as name:
        found = measure(options, Path(options.folder or name))
    report({**machine(options.threads), **found}, options.output)


if __name__ == "__main__":
    main()

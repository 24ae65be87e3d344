#!/usr/bin/env python3
"""What an image costs as the number of images grows: one pass of each kind at several numbers.

    python benchmarks/cost_by_number.py SIMULATED/truth.star --numbers 2000 10000 100000 --threads 2

A star file with poses, its rows repeated until there are so many: images that are alike cost as much. Timed
are reading, a search of the whole grid with the mean map, a pass that grows the subspace at held poses, and
one of poses and latents together. Prints one JSON object, with milliseconds per image.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import torch
from child import machine, report

from nunatak.particles.dataset import Particles
from nunatak.particles.reading import read_particles
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.fixed import given_poses_pass
from nunatak.reconstruct.orient import pose_confidence
from nunatak.reconstruct.passes import grow_pass, joint_pass
from nunatak.reconstruct.prepare import prepare
from nunatak.reconstruct.state import RunState
from nunatak.runs.machine import peak_memory_MB, use_machine

# Of the joint passes the later ones, of which most of a run consists, look around no pose any more.
_DONE = 6


def timed(count: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds per image, and what the work returns."""
    began = time.perf_counter()
    found = work()
    return round(1e3 * (time.perf_counter() - began) / count, 4), found


def at_number(particles: Particles, count: int, config: EngineConfig, device: torch.device) -> dict[str, Any]:
    """Milliseconds per image of every kind of pass, and the memory that the program has had by then."""
    many = particles.subset(torch.arange(count) % len(particles))
    reading, context = timed(count, lambda: prepare(many, config, True, device=device))
    # Made when they are first looked at: a part of reading.
    polar, _ = timed(count, lambda: context.polar)
    _, state = timed(count, lambda: given_poses_pass(RunState(), context))
    search, _ = timed(count, lambda: pose_confidence(state.oriented, context))
    grow, state = timed(count, lambda: grow_pass(state, context))
    joint, _ = timed(count, lambda: joint_pass(state, context, _DONE))
    return {
        "images": count,
        "reading_ms": round(reading + polar, 4),
        "grid_search_ms": search,
        "growing_ms": grow,
        "joint_ms": joint,
        "peak_memory_MB": round(peak_memory_MB()),
    }


def main() -> None:
    """Parse the command line, measure, print."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("particles", help="star file with poses")
    parser.add_argument("--numbers", nargs="+", type=int, default=[2000, 10000, 100000])
    parser.add_argument("--latent-dim", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="0: all")
    options = parser.parse_args()
    device, threads = use_machine(options.device, options.threads)
    particles, config = read_particles(options.particles), EngineConfig(latent_dim=options.latent_dim)
    # Compiling is not what grows.
    at_number(particles, min([*options.numbers, 200]), config, device)
    rows = [at_number(particles, count, config, device) for count in sorted(options.numbers)]
    first, last = rows[0], rows[-1]
    growth = {name: round(last[name] / first[name], 3) for name in first if name.endswith("_ms")}
    found = {"benchmark": "cost_by_number", "machine": machine(threads), "rows": rows}
    report(found | {"growth_first_to_last": growth}, None)


if __name__ == "__main__":
    main()

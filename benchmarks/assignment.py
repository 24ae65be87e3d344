#!/usr/bin/env python3
"""Hard against soft assignment of poses in random starts, with and without annealing: success and error.

    python benchmarks/assignment.py --snr 0.3 0.1 0.05 --seeds 0 1 2 -o assignment.csv

The same engine, images and seeds; one random start of a molecule whose arm swings, then every particle's best
pose on the grid and a local search. Success is a median rotation error under 15 degrees. The table is written
after every run, and a picture beside it: how many starts succeed, and every error. The grid is that of 30
degrees unless --healpix-order says otherwise.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from nunatak.metrics.pose_error import align_frames
from nunatak.particles.dataset import Particles
from nunatak.particles.truth import Truth
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.loop import run
from nunatak.reconstruct.prepare import prepare
from nunatak.reconstruct.recipes import ab_initio
from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.dataset import simulate_particles

FOUND_DEG = 15.0
WAYS = (("soft", True), ("soft", False), ("hard", True), ("hard", False))


def one_start(particles: Particles, truth: Truth, config: EngineConfig) -> dict[str, Any]:
    """Figures of one start and of the poses that it leads to."""
    context = prepare(particles, config)
    plan = ab_initio(config)
    names = [stage.name for stage in plan.stages]
    stages = plan.stages[: names.index("orienting all particles") + 1]
    began = time.perf_counter()
    state = run(replace(plan, stages=stages), context)
    rotations = state.oriented.candidates.rotations.double().numpy()
    error = float(np.median(align_frames(rotations, truth.rotations.double().numpy()).error_deg))
    return {
        "median_deg": round(error, 2),
        "success": error < FOUND_DEG,
        "evidence": round(state.starts[0].log_evidence, 2),
        "wall_s": round(time.perf_counter() - began, 1),
    }


def draw(path: Path, rows: list[dict[str, Any]]) -> None:
    """Success and errors of the four ways against the signal-to-noise ratio."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
    levels = sorted({row["snr"] for row in rows}, reverse=True)
    for place, (assignment, annealing) in enumerate(WAYS):
        own = [row for row in rows if (row["assignment"], row["annealing"]) == (assignment, annealing)]
        name = f"{assignment}, {'with' if annealing else 'without'} annealing"
        rates = [
            np.mean([row["success"] for row in own if row["snr"] == level] or [np.nan]) for level in levels
        ]
        axes[0].plot(range(len(levels)), rates, "o-", label=name, alpha=0.8)
        at = [levels.index(row["snr"]) + 0.1 * (place - 1.5) for row in own]
        axes[1].plot(at, [row["median_deg"] for row in own], "o", alpha=0.7)
    axes[1].axhline(FOUND_DEG, color="0.6", linewidth=0.8)
    axes[1].set_yscale("log")
    for axis, title in zip(axes, ("starts that succeed", "median rotation error, degrees"), strict=True):
        axis.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
        axis.set_xlabel("signal-to-noise ratio")
        axis.set_title(title, fontsize=10)
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """All rows so far as CSV."""
    with path.open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def main() -> None:
    """Parse the command line, run, write after every run."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--snr", nargs="+", type=float, default=[0.3, 0.1, 0.05])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--particles", type=int, default=1500)
    parser.add_argument("--box-px", type=int, default=48)
    parser.add_argument("--updates", type=int, default=40, help="of a round; a start has three")
    parser.add_argument("--healpix-order", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=Path("assignment.csv"))
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for snr in options.snr:
        for seed in options.seeds:
            simulation = SimulationConfig(
                particles=options.particles, box_px=options.box_px, snr=snr, motion="hinge", seed=seed
            )
            particles, truth = simulate_particles(simulation)
            for assignment, annealing in WAYS:
                config = EngineConfig(
                    seed=seed,
                    restarts=1,
                    start_updates=options.updates,
                    healpix_order=options.healpix_order,
                    assignment=assignment,
                    annealing=annealing,
                )
                way = {"snr": snr, "seed": seed, "assignment": assignment, "annealing": annealing}
                rows.append(way | one_start(particles, truth, config))
                print(rows[-1], file=sys.stderr, flush=True)
                write_table(options.output, rows)
                draw(options.output.with_suffix(".png"), rows)


if __name__ == "__main__":
    main()

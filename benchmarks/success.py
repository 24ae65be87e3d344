#!/usr/bin/env python3
"""How often poses are found from nothing, over seeds: the stages up to the refined consensus.

    python benchmarks/success.py SIMULATED... --seeds 0 1 2 3 4 5 6 7 8 9 -o success.csv

What comes after refines poses and looks for states; it does not bring back a start that failed. A run
succeeds where half of the particles that are no junk are within 10 degrees of the truth, in a frame of each
state's own (ten bins of a motion). The table is written after every run; the last lines count successes.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nunatak.metrics.evaluate import motion_bins
from nunatak.metrics.near_symmetry import within_state_error_modulo_turns_deg
from nunatak.metrics.pose_error import within_state_error_deg
from nunatak.particles.reading import read_particles
from nunatak.particles.truth import Truth, read_truth
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.loop import run
from nunatak.reconstruct.prepare import prepare
from nunatak.reconstruct.recipes import ab_initio
from nunatak.runs.machine import use_machine

WITHIN_DEG = 10.0
LAST = "consensus refinement"


def error_deg(rotations: np.ndarray, truth: Truth, near_symmetry: int) -> float:
    """Median error of particles that are no junk, in a frame and with a hand of each state's own.

    Modulo turns about an axis where the molecule is nearly symmetric; then with one hand, the better one.
    """
    good = ~truth.junk.numpy()
    true, states = truth.rotations.double().numpy()[good], motion_bins(truth)[good]
    if near_symmetry > 1:
        known = rotations[good], true, states
        modulo = [within_state_error_modulo_turns_deg(*known, hand, near_symmetry) for hand in (1, -1)]
        return min(float(np.median(error)) for error in modulo)
    return float(np.median(within_state_error_deg(rotations[good], true, states, None)))


def one_run(
    folder: Path, config: EngineConfig, device_name: str, threads: int, near_symmetry: int
) -> dict[str, Any]:
    """Figures of one run from nothing to refined poses of one consensus map."""
    device, _ = use_machine(device_name, threads)
    context = prepare(read_particles(folder / "particles.star"), config, device=device)
    plan = ab_initio(config)
    names = [stage.name for stage in plan.stages]
    began = time.perf_counter()
    state = run(replace(plan, stages=plan.stages[: names.index(LAST) + 1]), context)
    rotations = state.oriented.candidates.rotations.double().cpu().numpy()
    found = error_deg(rotations, read_truth(folder), near_symmetry)
    rounds = sum("log_evidence" in record and "update" in record for record in state.history)
    return {
        "folder": folder.name,
        "seed": config.seed,
        "success": found < WITHIN_DEG,
        "within_state_deg": round(found, 2),
        "rounds_of_starts": rounds,
        "evidence": round(state.starts[0].log_evidence, 2),
        "outcome": state.outcome.value,
        "wall_s": round(time.perf_counter() - began, 1),
    }


def main() -> None:
    """Parse the command line, run, write after every run."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("folders", nargs="+", type=Path, help="what `nunatak simulate` wrote")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(10)))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--near-symmetry", type=int, default=1, help="order of one the molecules nearly have")
    parser.add_argument("--threads", type=int, default=0, help="0: all")
    parser.add_argument("-o", "--output", type=Path, default=Path("success.csv"))
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for folder in options.folders:
        for seed in options.seeds:
            machine = options.device, options.threads, options.near_symmetry
            rows.append(one_run(folder, EngineConfig(seed=seed), *machine))
            print(rows[-1], file=sys.stderr, flush=True)
            with options.output.open("w", newline="") as stream:
                table = csv.DictWriter(stream, list(rows[0]))
                table.writeheader()
                table.writerows(rows)
    counts: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        counts[row["folder"]].append(row["success"])
    for name, found in counts.items():
        print(f"{name}: {sum(found)} of {len(found)}")


if __name__ == "__main__":
    main()

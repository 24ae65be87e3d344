#!/usr/bin/env python3
"""Seconds from a particle stack to poses of a given error: Nunatak and RELION InitialModel, in one run.

    python benchmarks/time_to_pose.py particles.star --truth truth.star --target-deg 5 --threads 2

Nunatak's clock is the whole command, from the shell back to the shell. RELION's stops at the first
iteration whose updated particles are within the target (peers/relion_initial_model.py). Prints one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import relion_initial_model
from child import machine, run_watched, tail

from nunatak.metrics.pose_error import align_frames

NUNATAK = [sys.executable, "-c", "from nunatak.cli.main import main; main()"]


def measure_ours(options: argparse.Namespace, particles: str) -> dict[str, object]:
    """Wall time and pose error of one homogeneous ab initio run."""
    truth = relion_initial_model.rotations(relion_initial_model.read_rows(Path(options.truth)))
    with tempfile.TemporaryDirectory(prefix="nunatak_") as name:
        run, log = Path(name) / "run", Path(name) / "output.log"
        command = [
            *NUNATAK,
            "abinit",
            particles,
            "-o",
            str(run),
            "--latent-dim",
            "0",
            "--seed",
            str(options.seed),
        ]
        command += ["--threads", str(options.threads), "--device", "cpu"]
        finished = run_watched(command, log, options.time_limit_s, options.threads)
        if finished.exit_status != 0:
            sys.exit(f"nunatak abinit ended with status {finished.exit_status}:\n{tail(log)}")
        found = relion_initial_model.rotations(relion_initial_model.read_rows(run / "particles.star"))
    error = float(np.median(align_frames(found, truth).error_deg))
    reached = error <= options.target_deg
    return {
        "rot_median_deg": round(error, 2),
        "wall_s": round(finished.wall_s, 1),
        "time_to_target_s": round(finished.wall_s, 1) if reached else None,
    }


def main() -> None:
    """Measure both, Nunatak first; RELION may use the whole time limit."""
    options = relion_initial_model.parser().parse_args()
    ours = measure_ours(options, options.particles)
    peer = relion_initial_model.measure(options)
    report: dict[str, object] = {"nunatak": ours, "peer": peer, "machine": machine(options.threads)}
    if ours["time_to_target_s"]:
        # A peer that does not arrive within its limit gives a lower bound of the ratio.
        theirs = peer["time_to_target_s"] or peer["wall_s"]
        report["ratio"] = float(theirs) / float(ours["time_to_target_s"])  # type: ignore[arg-type]
        report["ratio_is_lower_bound"] = peer["time_to_target_s"] is None
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()

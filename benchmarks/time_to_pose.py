#!/usr/bin/env python3
"""Seconds from a particle stack to poses of a given error: Nunatak and RELION InitialModel, in one run.

    python benchmarks/time_to_pose.py particles.star --truth truth.star --target-deg 5 --threads 2

Nunatak's clock is that of the whole command, from the shell on. It stops when the first checkpoint lies on
disk whose poses of *all* particles are within the target, or with the end of the command. RELION's stops at
the first iteration whose updated particles are within the target (peers/relion_initial_model.py). Poses are
scored outside the clocks. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import relion_initial_model
from child import machine, report, run_watched, tail
from safetensors import SafetensorError, safe_open

from nunatak.metrics.pose_error import align_frames

NUNATAK = [sys.executable, "-c", "from nunatak.cli.main import main; main()"]
POSES = "state.model.candidates.rotations"


class Checkpoints:
    """Every checkpoint of a run, kept by a second link, and the time at which it was there."""

    def __init__(self, run: Path, kept: Path) -> None:
        self._folder, self._kept = run / "checkpoint", kept
        self.written_s: dict[Path, float] = {}
        kept.mkdir()

    def __call__(self, elapsed_s: float) -> bool:
        """Look for new ones; false, for the run is to go on."""
        for path in self._folder.glob("state-*.safetensors"):
            link = self._kept / path.name
            if link not in self.written_s:
                try:
                    os.link(path, link)
                except FileNotFoundError:  # replaced by the next in between
                    continue
                self.written_s[link] = elapsed_s
        return False

    def errors(self, truth: np.ndarray) -> list[dict[str, float]]:
        """Median pose error of those that hold a pose for every particle, in the order of time."""
        found = []
        for path, elapsed_s in sorted(self.written_s.items(), key=lambda item: item[1]):
            try:
                with safe_open(path, "np") as state:
                    poses = state.get_tensor(POSES) if POSES in state.keys() else None  # noqa: SIM118
            except SafetensorError:
                continue
            if poses is not None:
                median = float(np.median(align_frames(poses, truth).error_deg))
                found.append({"written_s": round(elapsed_s, 1), "rot_median_deg": round(median, 2)})
        return found


def measure_ours(options: argparse.Namespace, particles: str) -> dict[str, object]:
    """Wall time and pose error of one homogeneous ab initio run."""
    order = np.argsort(np.argsort(relion_initial_model.read_names(Path(particles))))
    truth = relion_initial_model.rotations(relion_initial_model.read_rows(Path(options.truth)))[order]
    with tempfile.TemporaryDirectory(prefix="nunatak_") as name:
        run, log = Path(name) / "run", Path(name) / "output.log"
        command = [*NUNATAK, "abinit", particles, "-o", str(run), "--latent-dim", "0"]
        command += ["--seed", str(options.seed), "--threads", str(options.threads), "--device", "cpu"]
        command += shlex.split(options.nunatak_options)
        checkpoints = Checkpoints(run, Path(name) / "kept")
        finished = run_watched(command, log, options.time_limit_s, options.threads, checkpoints)
        if finished.exit_status not in (0, None):
            sys.exit(f"nunatak abinit ended with status {finished.exit_status}:\n{tail(log)}")
        passes = checkpoints.errors(truth)
    reached = [entry["written_s"] for entry in passes if entry["rot_median_deg"] <= options.target_deg]
    return {
        "rot_median_deg": passes[-1]["rot_median_deg"] if passes else None,
        "time_to_target_s": reached[0] if reached else None,
        "stopped_at_limit": finished.exit_status is None,
        "wall_s": round(finished.wall_s, 1),
        "options": options.nunatak_options,
        "checkpoints": passes,
    }


def compare(ours: dict[str, object], peer: dict[str, object]) -> dict[str, object]:
    """How many times longer the peer takes; a lower bound where it does not arrive within its limit.

    `ratio` is between the times to the target. `ratio_of_whole_run` sets our whole command, to its final
    poses, map and report, against the peer's time to the target.
    """
    if not ours["time_to_target_s"]:
        return {"ratio": None}
    theirs = float(peer["time_to_target_s"] or peer["wall_s"])  # type: ignore[arg-type]
    return {
        "ratio": round(theirs / float(ours["time_to_target_s"]), 2),  # type: ignore[arg-type]
        "ratio_of_whole_run": round(theirs / float(ours["wall_s"]), 2),  # type: ignore[arg-type]
        "ratio_is_lower_bound": peer["time_to_target_s"] is None,
    }


def main() -> None:
    """Measure both, Nunatak first; RELION may use the whole time limit."""
    made = relion_initial_model.parser()
    made.description = __doc__
    made.add_argument("--nunatak-options", default="", help="more words for `nunatak abinit`, in one string")
    made.add_argument("-o", "--output", help="write the JSON there too")
    options = made.parse_args()
    ours = measure_ours(options, options.particles)
    peer = relion_initial_model.measure(options)
    figures = compare(ours, peer)
    report({**figures, "nunatak": ours, "peer": peer, "machine": machine(options.threads)}, options.output)


if __name__ == "__main__":
    main()

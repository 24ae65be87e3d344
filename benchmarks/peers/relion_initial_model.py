#!/usr/bin/env python3
"""Time to pose error of RELION's InitialModel (`relion_refine --denovo_3dref --sgd`), against a known truth.

    python benchmarks/peers/relion_initial_model.py particles.star --truth truth.star --time-limit-s 600

Options are those of the InitialModel job of RELION 3.1 unless given otherwise. Every `run_itNNN_data.star`
is scored after the run, outside the clock, by the time at which RELION had written it. Mini-batches leave
the other particles' poses as they were, so the error is given twice: over all particles, and over those
updated since the last file, which favours RELION and is what `time_to_target_s` uses. Prints one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import starfile
import torch
from child import machine, run_watched, tail

from nunatak.geometry.rotations import matrices_from_euler
from nunatak.metrics.pose_error import align_frames

EULER = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
SMALLEST_SCORED = 50


def read_rows(path: Path) -> pd.DataFrame:
    """The particles table, in the order of image numbers."""
    tables = starfile.read(path)
    rows = tables["particles"] if isinstance(tables, dict) else tables
    return rows.sort_values("rlnImageName", ignore_index=True)


def read_names(path: Path) -> np.ndarray:
    """(n,) image names in the order of the file."""
    tables = starfile.read(path)
    rows = tables["particles"] if isinstance(tables, dict) else tables
    return rows["rlnImageName"].to_numpy(str)


def rotations(rows: pd.DataFrame) -> np.ndarray:
    """(n, 3, 3) rotations of a table."""
    return matrices_from_euler(torch.tensor(rows[EULER].to_numpy(np.float64, copy=True))).numpy()


def command_line(options: argparse.Namespace, root: str) -> list[str]:
    """The InitialModel job."""
    values = {
        "--i": options.particles,
        "--o": root,
        "--sgd_ini_iter": options.initial_iterations,
        "--sgd_inbetween_iter": options.inbetween_iterations,
        "--sgd_fin_iter": options.final_iterations,
        "--sgd_write_iter": options.write_every,
        "--sgd_ini_resol": 35,
        "--sgd_fin_resol": 15,
        "--sgd_ini_subset": 100,
        "--sgd_fin_subset": 500,
        "--K": 1,
        "--sym": "C1",
        "--pool": 3,
        "--pad": 1,
        "--particle_diameter": options.particle_diameter_A,
        "--oversampling": 1,
        "--healpix_order": options.healpix_order,
        "--offset_range": 6,
        "--offset_step": 2,
        "--random_seed": options.seed,
        "--j": options.threads,
    }
    flags = ["--denovo_3dref", "--sgd", "--ctf", "--flatten_solvent", "--zero_mask", "--preread_images"]
    flags += ["--dont_combine_weights_via_disc", "--dont_check_norm"]
    return ["relion_refine", *flags, *(str(word) for pair in values.items() for word in pair)]


def score(files: list[tuple[float, Path]], truth: np.ndarray) -> list[dict[str, float]]:
    """Pose errors of each written iteration."""
    found, last = [], None
    for written_s, path in files:
        try:
            now = rotations(read_rows(path))
        except (ValueError, KeyError):  # cut off in the middle of writing
            continue
        changed = np.ones(len(now), bool) if last is None else np.abs(now - last).max((1, 2)) > 1e-6
        last = now
        entry = {
            "iteration": int(re.search(r"_it(\d+)_", path.name).group(1)),  # type: ignore[union-attr]
            "written_s": round(written_s, 1),
            "rot_median_deg": round(float(np.median(align_frames(now, truth).error_deg)), 2),
        }
        if changed.sum() >= SMALLEST_SCORED:
            error = align_frames(now[changed], truth[changed]).error_deg
            entry |= {"updated": int(changed.sum()), "updated_median_deg": round(float(np.median(error)), 2)}
        found.append(entry)
    return found


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Run RELION in a temporary folder and return its figures."""
    if shutil.which("relion_refine") is None:
        sys.exit("relion_refine is not installed (benchmarks/README.md says how)")
    particles = Path(options.particles).resolve()
    truth = rotations(read_rows(Path(options.truth)))
    version = subprocess.run(
        ["relion_refine", "--version"], capture_output=True, text=True, check=False
    ).stdout
    with tempfile.TemporaryDirectory(prefix="relion_") as name:
        folder = Path(name)
        seen: dict[Path, float] = {}

        def watch(elapsed_s: float) -> bool:
            for path in folder.glob("job/run_it*_data.star"):
                seen.setdefault(path, elapsed_s)
            return False

        options.particles = particles.name
        (folder / "job").mkdir()
        for path in particles.parent.iterdir():  # RELION reads image paths from its working directory
            (folder / path.name).symlink_to(path)
        log = folder / "output.log"
        finished = run_watched(
            command_line(options, "job/run"), log, options.time_limit_s, options.threads, watch, folder
        )
        watch(finished.wall_s)
        if finished.exit_status not in (0, None):
            sys.exit(f"relion_refine failed with status {finished.exit_status}:\n{tail(log)}")
        iterations = score(sorted((when, path) for path, when in seen.items()), truth)
    errors = [(entry["written_s"], entry.get("updated_median_deg", np.inf)) for entry in iterations]
    reached = [when for when, error in errors if error <= options.target_deg]
    return {
        "peer": "RELION InitialModel",
        "version": version.strip().splitlines()[0] if version.strip() else "unknown",
        "particles": len(truth),
        "target_deg": options.target_deg,
        "time_to_target_s": reached[0] if reached else None,
        "best_updated_median_deg": min((error for _, error in errors if np.isfinite(error)), default=None),
        "stopped_at_limit": finished.exit_status is None,
        "wall_s": round(finished.wall_s, 1),
        "iterations": iterations,
        "command": " ".join(command_line(options, "job/run")),
        "machine": machine(options.threads),
    }


def parser() -> argparse.ArgumentParser:
    """Options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("particles", help="RELION 3.1 star file without poses, its stacks beside it")
    made.add_argument("--truth", required=True, help="star file with the true poses of the same rows")
    made.add_argument("--target-deg", type=float, default=5.0)
    made.add_argument("--time-limit-s", type=float, default=600)
    made.add_argument("--particle-diameter-A", type=float, default=350)
    made.add_argument(
        "--healpix-order", type=int, default=1, help="1 is the job's 15 degrees (oversampled once)"
    )
    made.add_argument("--initial-iterations", type=int, default=50)
    made.add_argument("--inbetween-iterations", type=int, default=200)
    made.add_argument("--final-iterations", type=int, default=50)
    made.add_argument("--write-every", type=int, default=5, help="the job's default is 10")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--seed", type=int, default=0)
    return made


if __name__ == "__main__":
    print(json.dumps(measure(parser().parse_args()), indent=2))

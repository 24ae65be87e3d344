#!/usr/bin/env python3
"""How pose error and latents fare as images become fewer or noisier, with the oracle's figures beside.

    for s in 0.1 0.05 0.02; do nunatak simulate sets/snr-$s --particles 10000 --snr $s --motion hinge; done
    python benchmarks/ladder.py sets/snr-* --seeds 0 1 2 -o ladder.csv

Each folder is reconstructed from nothing with each seed, with default options and `--latent-dim auto`, and
scored. A run counts as a success where half of the particles are within 10 degrees of the truth, frames of
states aside. The table is written after every run; `ladder.png` beside it shows it.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from oracle import Bound, bound

from nunatak.metrics.evaluate import evaluate_run
from nunatak.particles.reading import read_particles
from nunatak.particles.truth import read_truth
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.prepare import prepare
from nunatak.runs.execute import start_run
from nunatak.runs.job import InputConfig, JobConfig
from nunatak.runs.machine import use_machine
from nunatak.runs.volumes import write_volumes_at_particles

WITHIN_DEG = 10.0
SCORED = (
    "rot_within_state_median_deg",
    "rot_median_deg",
    "latent_knn",
    "latent_ari",
    "latent_pose_leak",
    "per_image_fsc_auc",
    "mean_fsc05_A",
    "junk_auc",
)


def oracle(folder: Path, device_name: str, images: int) -> Bound:
    """Figures that no run on a folder can better."""
    device, _ = use_machine(device_name, 0)
    context = prepare(read_particles(folder / "particles.star"), EngineConfig(), device=device)
    return bound(context, read_truth(folder), images)


def one_run(folder: Path, seed: int, device: str, maps: int) -> dict[str, Any]:
    """Figures of one run from nothing."""
    scratch = Path(tempfile.mkdtemp())
    job = JobConfig(
        input=InputConfig(particles=folder / "particles.star"),
        engine=EngineConfig(seed=seed),
        device=device,  # type: ignore[arg-type]
    )
    began = time.perf_counter()
    start_run(job, scratch / "run", "benchmarks/ladder.py")
    wall_s = time.perf_counter() - began
    count = len(read_truth(folder))
    rows = range(0, count, max(1, count // maps))
    write_volumes_at_particles(scratch / "run", scratch / "maps", list(rows)[:maps])
    found = evaluate_run(scratch / "run", folder, scratch / "maps", maps)
    latents = json.loads((scratch / "run" / "summary.json").read_text())["latent_dim"]
    shutil.rmtree(scratch)
    return {"wall_s": round(wall_s, 1), "latent_dim": latents, **{name: found.get(name) for name in SCORED}}


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """All rows so far as CSV."""
    with path.open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def draw(path: Path, rows: list[dict[str, Any]]) -> None:
    """Pose errors and latent scores of every folder, the oracle's as lines."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    folders = list(dict.fromkeys(row["folder"] for row in rows))
    pairs = (("rot_within_state_median_deg", "oracle_deg"), ("latent_knn", "oracle_state"))
    titles = "median rotation error within a state, degrees", "latent score"
    for axis, (name, oracle_name), title in zip(axes, pairs, titles, strict=True):
        for place, folder in enumerate(folders):
            own = [row for row in rows if row["folder"] == folder]
            found = [float(row[name]) for row in own if row[name] is not None]
            axis.plot([place] * len(found), found, "o", color="C0", alpha=0.7)
            axis.plot([place - 0.3, place + 0.3], [own[0][oracle_name]] * 2, color="C1")
        axis.set_xticks(range(len(folders)), folders, rotation=45, ha="right")
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
    axes[0].set_yscale("log")
    axes[0].plot([], [], "o", color="C0", label="runs")
    axes[0].plot([], [], color="C1", label="oracle")
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """Parse the command line, run, write after every run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="what `nunatak simulate` wrote")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--images", type=int, default=1000, help="images that the oracle looks at")
    parser.add_argument("--maps", type=int, default=60, help="maps that are scored")
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", type=Path, default=Path("ladder.csv"))
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for folder in options.folders:
        best = oracle(folder, options.device, options.images)
        for seed in options.seeds:
            found = one_run(folder, seed, options.device, options.maps)
            success = found["rot_within_state_median_deg"] or found["rot_median_deg"]
            row = {"folder": folder.name, "seed": seed, "success": success < WITHIN_DEG, **found}
            rows.append(row | {"oracle_deg": best.rot_median_deg, "oracle_state": best.state})
            print(rows[-1], flush=True)
            write_table(options.output, rows)
            draw(options.output.with_suffix(".png"), rows)


if __name__ == "__main__":
    main()

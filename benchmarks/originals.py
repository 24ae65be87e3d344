#!/usr/bin/env python3
"""Rows of the originals for `nunatak compare --originals`, each run once through its own command line.

    python benchmarks/originals.py SIMULATED --python PEER/bin/python -o originals.csv
    nunatak compare SIMULATED/particles.star --truth SIMULATED --recipes ... --originals originals.csv

`cryodrgn train_vae` trains at the true poses and is asked for maps, `cryodrgn abinit` searches poses until
the time limit, RELION's InitialModel makes one map from nothing and has a pose for every particle. What a
program does not give stays blank. A search that was stopped has no pose errors: its remark says how far it
came.
"""

from __future__ import annotations

import argparse
import csv
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import cryodrgn_abinit
import cryodrgn_train_vae
import relion_initial_model

from nunatak.metrics.comparison import Row, csv_table
from nunatak.particles.truth import read_truth

PROGRAMS = ("train_vae", "abinit", "relion")


def given(module: Any, words: list[str], options: Namespace) -> Namespace:
    """A peer's options: its own defaults, and what all share."""
    made: Namespace = module.parser().parse_args(words)
    made.threads, made.seed = options.threads, options.seed
    made.time_limit_s = options.time_limit_s
    return made


def train_vae(options: Namespace, images: int) -> Row:
    """Training at the true poses."""
    words = [options.simulated, "--python", options.python, "--epochs", str(options.epochs)]
    words += ["--images", str(images), "--latent-dim", str(options.latent_dim), "--maps", str(options.maps)]
    words += ["--width", str(options.width)]
    found = cryodrgn_train_vae.measure(given(cryodrgn_train_vae, words, options))
    kept = {key: float(str(found[key])) for key in ("per_image_fsc_auc", "latent_knn", "wall_s")}
    remark = f"poses given, {options.epochs} epochs, width {options.width}"
    return Row("cryodrgn train_vae 4.3.1", {"rot_median_deg": 0.0} | kept, remark)


def abinit(options: Namespace, images: int) -> Row:
    """Pose search, as far as it comes: one epoch of it, of some thirty."""
    words = [str(Path(options.simulated) / "particles.star"), "--python", options.python]
    words += ["--images", str(images), "--latent-dim", str(options.latent_dim)]
    found = cryodrgn_abinit.measure(given(cryodrgn_abinit, words, options))
    speed, searched = float(str(found.get("images_per_s", 0.0))), found["images_searched"]
    told = f"{speed:.3g} images/s; one epoch of search alone would take {images / max(speed, 1e-9):,.0f} s"
    return Row("cryodrgn abinit 4.3.1", {}, f"stopped after {searched} of {images} images: {told}")


def relion(options: Namespace, images: int) -> Row:
    """One map from nothing, and the poses of all particles after the last iteration."""
    folder = Path(options.simulated)
    words = [str(folder / "particles.star"), "--truth", str(folder / "truth.star")]
    words += ["--particle-diameter-A", str(options.particle_diameter_A)]
    found = relion_initial_model.measure(given(relion_initial_model, words, options))
    iterations: Any = found["iterations"]
    figures = {"rot_median_deg": float(iterations[-1]["rot_median_deg"])} if iterations else {}
    done = f"InitialModel, one map, iteration {iterations[-1]['iteration'] if iterations else 0}"
    stopped = ", stopped at the time limit" if found["stopped_at_limit"] else ""
    return Row("RELION 3.1.3", figures | {"wall_s": float(str(found["wall_s"]))}, done + stopped)


def main() -> None:
    """Run those that are asked for, and write their rows."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("simulated", help="folder that `nunatak simulate` wrote")
    parser.add_argument("--python", help="python of the environment that holds cryodrgn")
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--epochs", type=int, default=20, help="of train_vae")
    parser.add_argument("--width", type=int, default=256, help="of train_vae's networks")
    parser.add_argument("--latent-dim", type=int, default=4)
    parser.add_argument("--maps", type=int, default=20, help="particles whose maps are scored")
    parser.add_argument("--particle-diameter-A", type=float, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time-limit-s", type=float, default=1800)
    parser.add_argument("-o", "--output", type=Path, default=Path("originals.csv"))
    options = parser.parse_args()
    if options.python is None and set(options.programs) & {"train_vae", "abinit"}:
        parser.error("--python is needed for cryodrgn: the environment that it is installed in")
    images = len(read_truth(options.simulated))
    measured = {"train_vae": train_vae, "abinit": abinit, "relion": relion}
    rows = [measured[name](options, images) for name in options.programs]
    options.output.write_text(csv_table(rows))
    csv.writer(sys.stdout).writerows([row.name, dict(row.figures), row.remark] for row in rows)


if __name__ == "__main__":
    main()

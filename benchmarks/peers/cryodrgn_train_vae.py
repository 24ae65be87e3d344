#!/usr/bin/env python3
"""Maps of `cryodrgn train_vae` at given poses, through its command line alone.

    python benchmarks/peers/cryodrgn_train_vae.py SIMULATED --python PEER_VENV/bin/python --epochs 5

Trains on the first images of a simulated set at their true poses, asks for the maps at the latents of some
particles, and prints one JSON object: seconds, and the mean area under the FSC with each particle's own map.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import mrcfile
import numpy as np
from child import machine, run_watched, tail
from cryodrgn_abinit import write_subset

from nunatak.io.pickled_arrays import read_pickled_arrays
from nunatak.metrics.fsc import area_under_fsc, fourier_shell_correlation
from nunatak.metrics.latent_score import score_latents
from nunatak.particles.contrast import guess_contrast_sign
from nunatak.particles.reading import read_particles
from nunatak.particles.truth import Truth, read_truth


def scored_rows(count: int, wanted: int) -> list[int]:
    """Particles whose maps are scored, evenly over the set."""
    return list(range(0, count, max(1, count // wanted)))[:wanted]


def per_image_area(maps: list[np.ndarray], rows: list[int], truth: Truth) -> float:
    """Mean area under the FSC, from 0 to 0.5 per pixel, of maps with their particles' true maps."""
    true = truth.volumes.numpy()
    pairs = zip(maps, rows, strict=True)
    curves = [fourier_shell_correlation(made, true[int(truth.labels[row])]) for made, row in pairs]
    return float(np.mean([area_under_fsc(curve) for curve in curves]))


def parsed(program: Path, folder: Path, box: int, pixel_size_A: float) -> None:
    """ctf.pkl and pose.pkl of particles.star in a folder, by the peer's own converters."""
    shared = ["particles.star", "-D", str(box), "--Apix", str(pixel_size_A), "-o"]
    for command, name in (("parse_ctf_star", "ctf.pkl"), ("parse_pose_star", "pose.pkl")):
        subprocess.run([str(program), command, *shared, name], cwd=folder, check=True, capture_output=True)


def maps_at(program: Path, folder: Path, latents: np.ndarray, epoch: int) -> list[np.ndarray]:
    """Maps of a trained model at (n, q) latents."""
    np.savetxt(folder / "asked.txt", latents)
    asked = [str(program), "eval_vol", f"out/weights.{epoch}.pkl", "-c", "out/config.yaml"]
    asked += ["--zfile", "asked.txt", "-o", "maps"]
    subprocess.run(asked, cwd=folder, check=True, capture_output=True)
    return [mrcfile.read(path).astype(np.float32) for path in sorted((folder / "maps").glob("*.mrc"))]


def train_command(program: Path, options: argparse.Namespace, bright: bool) -> list[str]:
    """The peer's training. It inverts images unless told otherwise: its CTF is negative at low frequency."""
    command = [str(program), "train_vae", "particles.star", "--ctf", "ctf.pkl", "--poses", "pose.pkl"]
    command += ["--zdim", str(options.latent_dim), "-n", str(options.epochs), "-o", "out", "--no-analysis"]
    command += ["--enc-dim", str(options.width), "--dec-dim", str(options.width), "--num-workers", "0"]
    command += ["--seed", str(options.seed), "--checkpoint", str(options.epochs)]
    return command + ([] if bright else ["--uninvert-data"])


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Train the peer in a temporary folder and score its maps."""
    program = Path(options.python).absolute().parent / "cryodrgn"
    if not program.exists():
        sys.exit(f"{program} does not exist: install cryodrgn into that environment (benchmarks/README.md)")
    simulated = Path(options.simulated)
    truth = read_truth(simulated)
    count = min(options.images, len(truth))
    with tempfile.TemporaryDirectory(prefix="cryodrgn_") as name:
        folder = Path(name)
        box, pixel_size_A = write_subset(simulated / "truth.star", count, folder)
        parsed(program, folder, box, pixel_size_A)
        bright = guess_contrast_sign(read_particles(folder / "particles.star"))[0] > 0
        log = folder / "output.log"
        command = train_command(program, options, bright)
        finished = run_watched(command, log, options.time_limit_s, options.threads, directory=folder)
        if finished.exit_status != 0:
            sys.exit(f"cryodrgn train_vae ended with status {finished.exit_status}:\n{tail(log)}")
        latents = read_pickled_arrays(folder / "out" / f"z.{options.epochs}.pkl")[0]
        directions = truth.rotations[:count, 2].numpy()
        known = score_latents(latents, truth.labels[:count].numpy(), truth.coordinates.numpy(), directions)
        rows = scored_rows(count, options.maps)
        area = per_image_area(maps_at(program, folder, latents[rows], options.epochs), rows, truth)
        epochs = re.findall(r"Finished in ([\d:.]+)", log.read_text(errors="replace"))
    return {
        "peer": "cryodrgn train_vae",
        "images": count,
        "epochs": options.epochs,
        "width": options.width,
        "wall_s": round(finished.wall_s, 1),
        "told": epochs,
        "per_image_fsc_auc": round(area, 4),
        "latent_knn": round(known.knn, 3),
        "machine": machine(options.threads),
    }


def parser() -> argparse.ArgumentParser:
    """Options, shared with benchmarks/trained_heterogeneity.py."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("simulated", help="folder of a simulated set: truth.star, truth.npz, volumes.npy")
    made.add_argument("--python", required=True, help="python of the environment that holds cryodrgn")
    made.add_argument("--images", type=int, default=5000)
    made.add_argument("--epochs", type=int, default=5)
    made.add_argument("--latent-dim", type=int, default=4)
    made.add_argument("--width", type=int, default=256, help="of encoder and decoder (default 256)")
    made.add_argument("--maps", type=int, default=60, help="particles whose maps are scored")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--time-limit-s", type=float, default=3600)
    return made


if __name__ == "__main__":
    print(json.dumps(measure(parser().parse_args()), indent=2))

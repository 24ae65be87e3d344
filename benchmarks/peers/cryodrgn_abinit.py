#!/usr/bin/env python3
"""Images per second of the hierarchical pose search of `cryodrgn abinit`, through its command line alone.

    python benchmarks/peers/cryodrgn_abinit.py particles.star --python PEER_VENV/bin/python --images 16

The first images of the stack are written to a folder of their own and one epoch of pose search is run on
them at the published hyper-parameters. Its log says after each batch how many particles are done, and the
throughput is read off those lines; a batch's gradient step is in it, some 6 % of the arithmetic. Prints one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import mrcfile
import starfile
from child import machine, run_watched, tail

PUBLISHED = {
    "--base-healpy": 2,
    "--l-start": 12,
    "--l-end": 32,
    "--niter": 4,
    "--nkeptposes": 8,
    "--t-extent": 20,
    "--t-ngrid": 7,
}
STAMP = re.compile(r"\((\d\d-\w{3}-\d{4} \d\d:\d\d:\d\d)\)")


def write_subset(particles: Path, images: int, folder: Path) -> tuple[int, float]:
    """The first rows as particles.star and particles.mrcs; returns the box and the pixel size in angstrom."""
    tables = starfile.read(particles)
    rows = tables["particles"].iloc[:images].copy()
    stacks = {name.split("@")[1] for name in rows["rlnImageName"]}
    if len(stacks) != 1:
        sys.exit(f"the first {images} particles lie in {len(stacks)} stacks; one is expected")
    with mrcfile.mmap(particles.parent / stacks.pop(), permissive=True) as stack:
        wanted = [int(name.split("@")[0]) - 1 for name in rows["rlnImageName"]]
        data = stack.data[wanted]
    with mrcfile.new(folder / "particles.mrcs") as out:
        out.set_data(data)
        out.set_image_stack()
    rows["rlnImageName"] = [f"{i + 1:06d}@particles.mrcs" for i in range(len(rows))]
    starfile.write({"optics": tables["optics"], "particles": rows}, folder / "particles.star")
    return data.shape[-1], float(tables["optics"]["rlnImagePixelSize"].iloc[0])


def read_progress(log: str) -> dict[str, object]:
    """Throughput from the log's timestamps, of the whole epoch of pose search and after its first batch."""
    begun = re.search(rf"{STAMP.pattern} Will use pose search", log)
    text = log[begun.start() :] if begun else ""
    steps = []
    for line in text.splitlines():
        done = re.search(r"\[(\d+)/\d+ particles\]", line)
        stamp = STAMP.search(line)
        if done and stamp:
            steps.append((_seconds(stamp.group(1)), int(done.group(1))))
    figures: dict[str, object] = {"images_searched": steps[-1][1] if steps else 0}
    exact = re.search(r"HPS Epoch: 1 finished in (\d+):(\d+):([\d.]+)", text)
    if exact:
        hours, minutes, seconds = (float(value) for value in exact.groups())
        figures["search_s"] = hours * 3600 + minutes * 60 + seconds
    elif steps and begun:
        figures["search_s"] = steps[-1][0] - _seconds(begun.group(1))
    if figures.get("search_s"):
        figures["images_per_s"] = figures["images_searched"] / figures["search_s"]  # type: ignore[operator]
    if len(steps) > 1 and steps[-1][0] > steps[0][0]:
        figures["images_per_s_after_first_batch"] = (steps[-1][1] - steps[0][1]) / (
            steps[-1][0] - steps[0][0]
        )
    return figures


def _seconds(stamp: str) -> float:
    return datetime.strptime(stamp, "%d-%b-%Y %H:%M:%S").timestamp()


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Run the peer in a temporary folder and return its figures."""
    program = Path(options.python).absolute().parent / "cryodrgn"
    if not program.exists():
        sys.exit(f"{program} does not exist: install cryodrgn into that environment (benchmarks/README.md)")
    with tempfile.TemporaryDirectory(prefix="cryodrgn_") as name:
        folder = Path(name)
        box, pixel_size_A = write_subset(Path(options.particles), options.images, folder)
        star = str(folder / "particles.star")
        parse = [
            str(program),
            "parse_ctf_star",
            star,
            "-D",
            str(box),
            "--Apix",
            str(pixel_size_A),
            "-o",
            "ctf.pkl",
        ]
        subprocess.run(parse, cwd=folder, check=True, capture_output=True)
        version = subprocess.run(
            [str(program), "--version"], capture_output=True, text=True, check=True
        ).stdout
        command = [
            str(program),
            "abinit",
            star,
            "--ctf",
            "ctf.pkl",
            "--zdim",
            str(options.latent_dim),
            "-o",
            "out",
        ]
        command += ["-n", "1", "--epochs-pose-search", "1", "--n-imgs-pretrain", str(options.images)]
        command += ["--batch-size-hps", str(options.batch), "--log-interval", str(options.batch)]
        command += ["--num-workers", "0", "--no-analysis", "--seed", str(options.seed)]
        command += [str(word) for pair in PUBLISHED.items() for word in pair]
        log = folder / "output.log"
        finished = run_watched(command, log, options.time_limit_s, options.threads, directory=folder)
        if finished.exit_status not in (0, None):
            sys.exit(f"cryodrgn abinit failed with status {finished.exit_status}:\n{tail(log)}")
        figures = read_progress(log.read_text(errors="replace"))
    return {
        "peer": "cryodrgn abinit",
        "version": version.strip().splitlines()[-1],
        "box_px": box,
        "images": options.images,
        "batch": options.batch,
        "stopped_at_limit": finished.exit_status is None,
        "wall_s": finished.wall_s,
        **figures,
        "hyper_parameters": {name.lstrip("-"): value for name, value in PUBLISHED.items()},
        "machine": machine(options.threads),
    }


def parser() -> argparse.ArgumentParser:
    """Options, shared with benchmarks/search_throughput.py."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("particles", help="RELION 3.1 star file with CTF, one stack")
    made.add_argument("--python", required=True, help="python of the environment that holds cryodrgn")
    made.add_argument("--images", type=int, default=16, help="images to search (default 16)")
    made.add_argument("--batch", type=int, default=8, help="images per batch (default 8)")
    made.add_argument("--latent-dim", type=int, default=0)
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--time-limit-s", type=float, default=600)
    return made


if __name__ == "__main__":
    print(json.dumps(measure(parser().parse_args()), indent=2))

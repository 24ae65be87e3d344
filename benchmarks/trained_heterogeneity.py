#!/usr/bin/env python3
"""Maps of the recipe cryodrgn beside those of `cryodrgn train_vae`: true poses, equal epochs, equal widths.

    python benchmarks/trained_heterogeneity.py SIMULATED --python PEER/bin/python --epochs 5

Both train on the first images of a simulated set, one after the other, the peer first, and are asked for maps
at the latents of the same particles; the default engine, which has no epochs, is asked as well. Prints one
JSON object: seconds of each whole program, and the mean area under the FSC with each particle's own true map.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import cryodrgn_train_vae as peer
import mrcfile
import numpy as np
from child import machine, report, run_watched, tail
from cryodrgn_abinit import write_subset

from nunatak.particles.truth import read_truth


def nunatak(words: list[str], log: Path, options: argparse.Namespace) -> float:
    """Seconds that a command of ours takes."""
    command = [sys.executable, "-m", "nunatak", *words]
    finished = run_watched(command, log, options.time_limit_s, options.threads)
    if finished.exit_status != 0:
        sys.exit(f"nunatak {words[0]} ended with status {finished.exit_status}:\n{tail(log)}")
    return finished.wall_s


def recipe_words(options: argparse.Namespace, volume: str) -> list[str]:
    """Options of the recipe cryodrgn with a trained volume; none for the default engine."""
    if volume == "engine":
        return []
    words = ["--recipe", "cryodrgn", "--latent-dim", str(options.latent_dim)]
    words += ["--epochs", str(options.epochs), "--decoder", volume, "--encoder", options.encoder]
    return [*words, "--decoder-width", str(options.width), "--encoder-width", str(options.width)]


def measure_ours(options: argparse.Namespace, volume: str, images: int) -> dict[str, object]:
    """The same of our recipe, or of the default engine: its maps at the particles' latents."""
    truth = read_truth(options.simulated)
    rows = peer.scored_rows(images, options.maps)
    with tempfile.TemporaryDirectory(prefix="nunatak_") as name:
        folder, log = Path(name), Path(name) / "output.log"
        write_subset(Path(options.simulated) / "truth.star", images, folder)
        words = ["heterogeneity", str(folder / "particles.star"), "-o", str(folder / "run")]
        words += ["--seed", str(options.seed), *recipe_words(options, volume)]
        wall_s = nunatak(words, log, options)
        asked = ["volumes", str(folder / "run"), "-o", str(folder / "maps")]
        nunatak([*asked, "--at-particles", ",".join(map(str, rows))], log, options)
        maps = [mrcfile.read(folder / "maps" / f"vol_{row:06d}.mrc").astype(np.float32) for row in rows]
    return {
        "volume": volume,
        "wall_s": round(wall_s, 1),
        "per_image_fsc_auc": round(peer.per_image_area(maps, rows, truth), 4),
    }


def main() -> None:
    """Measure both, the peer first."""
    made = peer.parser()
    made.description = __doc__
    volumes = ["network", "grid", "engine"]
    made.add_argument("--volumes", choices=volumes, nargs="+", default=volumes)
    made.add_argument("--encoder", choices=["placed", "image"], default="placed")
    made.add_argument("-o", "--output", help="write the JSON there too")
    options = made.parse_args()
    theirs = peer.measure(options)
    every = [measure_ours(options, volume, int(str(theirs["images"]))) for volume in options.volumes]
    for ours in every:
        ours["times_as_fast"] = round(float(str(theirs["wall_s"])) / float(str(ours["wall_s"])), 2)
    report({"nunatak": every, "peer": theirs, "machine": machine(options.threads)}, options.output)


if __name__ == "__main__":
    main()

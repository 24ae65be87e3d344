#!/usr/bin/env python3
"""Images per second of the pose search: Nunatak and `cryodrgn abinit`, in one run on the same cores.

    python benchmarks/search_throughput.py particles.star --python PEER_VENV/bin/python --threads 2

Both search at the published hyper-parameters (base_healpy 2, radius 12 to 32, 4 subdivisions, 8 poses kept,
7 x 7 shifts over 20 pixels). Prints one JSON object with both figures and their ratio.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import cryodrgn_abinit
from child import machine, run_watched, tail

NUNATAK = [sys.executable, "-c", "from nunatak.cli.main import main; main()"]


def measure_ours(options: argparse.Namespace) -> dict[str, object]:
    """`search_images_per_s` of an ab initio run's summary."""
    with tempfile.TemporaryDirectory(prefix="nunatak_") as name:
        run, log = Path(name) / "run", Path(name) / "output.log"
        command = [
            *NUNATAK,
            "abinit",
            options.particles,
            "-o",
            str(run),
            "--latent-dim",
            str(options.latent_dim),
        ]
        command += ["--seed", str(options.seed), "--threads", str(options.threads), "--device", "cpu"]
        finished = run_watched(command, log, options.time_limit_s, options.threads)
        if finished.exit_status != 0:
            sys.exit(f"nunatak abinit ended with status {finished.exit_status}:\n{tail(log)}")
        summary = json.loads((run / "summary.json").read_text())
    if "search_images_per_s" not in summary:
        sys.exit(
            "summary.json of the run has no search_images_per_s: this version does not measure its search"
        )
    return {"images_per_s": summary["search_images_per_s"], "wall_s": round(finished.wall_s, 1)}


def main() -> None:
    """Measure both, the peer first."""
    options = cryodrgn_abinit.parser().parse_args()
    peer = cryodrgn_abinit.measure(options)
    ours = measure_ours(options)
    ratio = float(ours["images_per_s"]) / float(peer["images_per_s"])  # type: ignore[arg-type]
    print(
        json.dumps(
            {"nunatak": ours, "peer": peer, "ratio": ratio, "machine": machine(options.threads)}, indent=2
        )
    )


if __name__ == "__main__":
    main()

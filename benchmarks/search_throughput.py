#!/usr/bin/env python3
"""Images per second of the hierarchical pose search: Nunatak and `cryodrgn abinit`, one run, the same cores.

    python benchmarks/search_throughput.py particles.star --truth truth.star --python PEER/bin/python

Both search the same star file from its first image on, at the published hyper-parameters (base_healpy 2,
radius 12 to 32, 4 subdivisions, 8 poses kept, 14 x 14 shifts over 20 pixels to either side), one after the
other, the peer first, and each on the GPU where there is one. The peer's images are a few, ours many: the
figures are per second. `ratio` compares searches alone; `ratio_end_to_end` sets our whole program, imports
and reading included, against the peer's search alone. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import cryodrgn_abinit
from child import machine, report, run_watched, tail

OURS = Path(__file__).parent / "hierarchical_search.py"


def measure_ours(options: argparse.Namespace) -> dict[str, object]:
    """The figures of hierarchical_search.py, run as a program of its own."""
    with tempfile.TemporaryDirectory(prefix="nunatak_") as name:
        found, log = Path(name) / "search.json", Path(name) / "output.log"
        command = [sys.executable, str(OURS), options.particles, "-o", str(found)]
        command += ["--images", str(options.our_images), "--threads", str(options.threads)]
        for name, value in (("--truth", options.truth), ("--run", options.run), ("--device", options.device)):
            command += [name, value] if value is not None else []
        finished = run_watched(command, log, options.time_limit_s, options.threads)
        if finished.exit_status != 0:
            sys.exit(f"hierarchical_search.py ended with status {finished.exit_status}:\n{tail(log)}")
        return json.loads(found.read_text()) | {"wall_s": round(finished.wall_s, 1)}


def parser() -> argparse.ArgumentParser:
    """The peer's options and ours."""
    made = cryodrgn_abinit.parser()
    made.description = __doc__
    made.add_argument(
        "--our-images", type=int, default=2000, help="images that Nunatak searches (default 2000)"
    )
    made.add_argument("--truth", help="star file with the true poses of the same rows")
    made.add_argument("--run", help="finished `nunatak abinit` run whose map is searched with, instead")
    made.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="of our search")
    made.add_argument("-o", "--output", help="write the JSON there too")
    return made


def main() -> None:
    """Measure both, the peer first."""
    options = parser().parse_args()
    if options.truth is None and options.run is None:
        parser().error("give --truth or --run: our search needs a map")
    peer = cryodrgn_abinit.measure(options)
    if not peer.get("images_per_s"):
        sys.exit(
            f"the peer finished no batch within {options.time_limit_s} s: give it fewer images or more time"
        )
    if options.output is not None:  # kept, should ours be stopped
        Path(options.output).write_text(json.dumps({"peer": peer}, indent=2) + "\n")
    ours = measure_ours(options)
    ratio = lambda name: round(float(ours[name]) / float(peer["images_per_s"]), 1)  # type: ignore[arg-type]  # noqa: E731
    figures = {"ratio": ratio("images_per_s"), "ratio_end_to_end": ratio("end_to_end_images_per_s")}
    report({**figures, "nunatak": ours, "peer": peer, "machine": machine(options.threads)}, options.output)


if __name__ == "__main__":
    main()

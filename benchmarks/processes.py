#!/usr/bin/env python3
"""Seconds of one ab initio run in one process and in several, each with one thread.

    python benchmarks/processes.py particles.star --processes 1 2 -- --latent-dim 0 --restarts 2

What follows `--` are options of `nunatak abinit`. Computing is what the run's history says: from the images
read to the last pass, so that imports and the report are left out; `wall_s` has them. `speed_up` is against
the first number of processes. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))

from child import machine, report, run_watched, tail


def measure(particles: str, size: int, more: list[str], time_limit_s: float) -> dict[str, float]:
    """Seconds of a run in so many processes."""
    with tempfile.TemporaryDirectory(prefix="nunatak_") as name:
        run, log = Path(name) / "run", Path(name) / "output.log"
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"]
        program = [*launch, "-m", "nunatak"] if size > 1 else [sys.executable, "-m", "nunatak"]
        command = [*program, "abinit", particles, "-o", str(run), "--threads", "1", *more]
        finished = run_watched(command, log, time_limit_s, 1)
        if finished.exit_status != 0:
            sys.exit(f"{size} processes ended with status {finished.exit_status}:\n{tail(log)}")
        lines = (run / "history.jsonl").read_text().splitlines()
        passes_s = json.loads((run / "checkpoint" / "current.json").read_text())["elapsed_s"]
        return {"passes": len(lines), "passes_s": round(passes_s, 2), "wall_s": round(finished.wall_s, 2)}


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("particles")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--time-limit-s", type=float, default=3600)
    parser.add_argument("-o", "--output", help="write the JSON object to a file as well")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:cut])
    found = {
        str(size): measure(options.particles, size, words[cut + 1 :], options.time_limit_s)
        for size in options.processes
    }
    first = found[str(options.processes[0])]["passes_s"]
    speed_up = {size: round(first / figures["passes_s"], 2) for size, figures in found.items()}
    report({**machine(1), "processes": found, "speed_up": speed_up}, options.output)


if __name__ == "__main__":
    main()

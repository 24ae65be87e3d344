#!/usr/bin/env python3
"""Seconds of one ab initio run in one process and in several, each with one thread, and of every stage.

    python benchmarks/processes.py particles.star --processes 1 2 -- --latent-dim 2

What follows `--` are options of `nunatak abinit`. Computing is from the images read to the last pass, so
that imports and the report are left out; `wall_s` has them. `speed_up` is against the first number of
processes. `processor_s` is the processor time of the busiest process, which a machine that is busy with
other things does not change much; what does not shrink there is what every process does for itself. Prints
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "peers"))

from child import machine, report, run_watched, tail

CLOCKS = "NUNATAK_BENCHMARK_CLOCKS"


class Clock:
    """A listener of the loop that writes what each pass took in this process."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"clock-{os.environ.get('RANK', '0')}.jsonl"
        self._last = time.perf_counter(), time.process_time()

    def on_progress(self, progress: object) -> None:
        """Nothing."""

    def on_pass(self, state: object, stage: str) -> None:
        """Both clocks since the pass before."""
        now = time.perf_counter(), time.process_time()
        wall_s, processor_s = (new - old for new, old in zip(now, self._last, strict=True))
        with self._path.open("a") as stream:
            stream.write(json.dumps({"stage": stage, "wall_s": wall_s, "processor_s": processor_s}) + "\n")
        self._last = now


def be_one_process(words: list[str]) -> None:
    """A child: the command line, with a clock in every process."""
    from nunatak.cli.main import main as command_line
    from nunatak.runs import execute

    loop = execute.run

    def timed(plan: Any, context: Any, state: Any, listeners: list[Any]) -> Any:
        return loop(plan, context, state, [*listeners, Clock(Path(os.environ[CLOCKS]))])

    execute.run = timed
    command_line(words)


def by_stage(folder: Path, clock: str) -> dict[str, float]:
    """Seconds of each stage in the process where it took longest."""
    totals: dict[str, float] = {}
    for path in folder.glob("clock-*.jsonl"):
        own: dict[str, float] = {}
        for line in map(json.loads, path.read_text().splitlines()):
            own[line["stage"]] = own.get(line["stage"], 0.0) + line[clock]
        totals |= {stage: max(spent, totals.get(stage, 0.0)) for stage, spent in own.items()}
    return totals


def measure(particles: str, size: int, more: list[str], time_limit_s: float) -> dict[str, Any]:
    """Seconds of a run in so many processes."""
    with tempfile.TemporaryDirectory(prefix="nunatak_") as name:
        run, log = Path(name) / "run", Path(name) / "output.log"
        os.environ[CLOCKS] = name
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"]
        program = [*(launch if size > 1 else [sys.executable]), __file__, "--child"]
        command = [*program, "abinit", particles, "-o", str(run), "--threads", "1", *more]
        finished = run_watched(command, log, time_limit_s, 1)
        if finished.exit_status != 0:
            sys.exit(f"{size} processes ended with status {finished.exit_status}:\n{tail(log)}")
        lines = (run / "history.jsonl").read_text().splitlines()
        passes_s = json.loads((run / "checkpoint" / "current.json").read_text())["elapsed_s"]
        stages = {clock: by_stage(Path(name), clock) for clock in ("wall_s", "processor_s")}
        return {
            "passes": len(lines),
            "passes_s": round(passes_s, 2),
            "processor_s": round(sum(stages["processor_s"].values()), 2),
            "wall_s": round(finished.wall_s, 2),
            "stages": {
                stage: {clock: round(stages[clock][stage], 2) for clock in stages}
                for stage in stages["wall_s"]
            },
        }


def ratios(first: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """How many times quicker a run was than the first, by both clocks, whole and stage by stage."""
    shared = [stage for stage in first["stages"] if stage in other["stages"]]
    return {
        "wall": round(first["passes_s"] / other["passes_s"], 2),
        "processor": round(first["processor_s"] / other["processor_s"], 2),
        "stages": {
            stage: {
                clock: round(first["stages"][stage][clock] / max(other["stages"][stage][clock], 1e-3), 2)
                for clock in ("wall_s", "processor_s")
            }
            for stage in shared
        },
    }


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
    first = found[str(options.processes[0])]
    speed_up = {size: ratios(first, figures) for size, figures in found.items()}
    report({**machine(1), "processes": found, "speed_up": speed_up}, options.output)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        be_one_process(sys.argv[2:])
    else:
        main()

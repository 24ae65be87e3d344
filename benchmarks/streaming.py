#!/usr/bin/env python3
"""Seconds of a refinement pass with the images' samples in memory and on the disk, one after the other.

    python benchmarks/streaming.py truth.star --memory-limit 1.1 --times-limit 4 --threads 2

A pass is two steps of the local search for every image and the sums for both half maps, at the star file's
poses. Two processes take turns. One holds the samples in memory; the other may not have more private memory
than the limit (RLIMIT_DATA; its peak is looked at as well) and reads samples from the disk. That limit does
not count what the system keeps of files, which is therefore bounded here: after every read all that lies
before its end is dropped (POSIX_FADV_DONTNEED; `--warm` leaves it), so that the second reading in a pass
comes from the disk too. With `--times-limit 4` the star file's rows are repeated until the samples are four
times the limit: images that are alike cost as much. `cost` is the disk's median over memory's. Prints one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import numpy as np
import torch
from child import machine, report

from nunatak.core.collective import ALONE
from nunatak.io.row_file import RowFile
from nunatak.particles.cache import CachePlan, ImageCache, sample_plane
from nunatak.particles.reading import read_particles
from nunatak.particles.stored import StoredRows
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.fixed import given_poses_pass
from nunatak.reconstruct.model import Model, SearchPlan, expect, half_sums
from nunatak.reconstruct.prepare import prepare
from nunatak.reconstruct.state import RunState
from nunatak.runs.job import InputConfig, JobConfig, MemoryConfig
from nunatak.runs.machine import peak_memory_MB, use_machine
from nunatak.runs.memory import provide
from nunatak.search.local import LocalPrior


@dataclass(frozen=True)
class ForgottenFile(RowFile):
    """A file of which the system keeps nothing that lies before the last row read."""

    def read(self, rows: np.ndarray, count: int | None = None) -> np.ndarray:
        """As RowFile.read, then drop."""
        values = super().read(rows, count)
        if len(rows):
            handle = os.open(self.path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, (int(rows[-1]) + 1) * self.row_bytes, os.POSIX_FADV_DONTNEED)
            os.close(handle)
        return values


def forgetting(rows: StoredRows) -> StoredRows:
    """The same rows, forgotten once they were read."""
    file = rows.file
    return replace(rows, file=ForgottenFile(file.path, file.width, file.dtype))


def forget(folder: Path) -> None:
    """Let the system drop all that it holds of the cache's files."""
    for path in folder.glob("*.float*"):
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def one_pass(model: Model, cache: ImageCache, radius_px: int) -> float:
    """Seconds of the expectation and of the sums."""
    began = time.perf_counter()
    moved, _ = expect(model, cache, SearchPlan(radius_px, torch.zeros(1, 3), 2, LocalPrior()))
    half_sums(moved, cache, radius_px)
    return time.perf_counter() - began


def plan_of(options: argparse.Namespace, particles: object) -> CachePlan:
    """How one side holds the samples; the disk's side as a run under the limit would."""
    if options.side == "memory":
        return CachePlan()
    memory = MemoryConfig(
        cache="disk",
        cache_folder=options.folder,
        cache_precision=options.precision,
        memory_limit_GB=options.memory_limit,
    )
    job = JobConfig(
        command="reconstruct",
        input=InputConfig(particles=options.particles),
        engine=EngineConfig(latent_dim=0),
        memory=memory,
    )
    return provide(job, particles, ALONE, Path(options.folder)).cache


def be_one_side(options: argparse.Namespace) -> None:
    """A child: prepare, say so, and make a pass for every line that is read."""
    limited = options.side == "disk" and options.memory_limit
    if limited:
        most = int(1e9 * options.memory_limit)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    particles = read_particles(options.particles)
    began = time.perf_counter()
    context = prepare(particles, EngineConfig(latent_dim=0), True, plan=plan_of(options, particles))
    made_s, folder = time.perf_counter() - began, Path(options.folder)
    cache = context.cache
    if options.side == "disk" and not options.warm:
        cache = replace(cache, samples=forgetting(cache.samples), transfer=forgetting(cache.transfer))
        forget(folder)
    model = given_poses_pass(RunState(), replace(context, cache=cache)).oriented
    radius_px = min(options.radius_px or context.limit_px, context.limit_px)
    model = replace(model, maps=model.maps.mean(0, keepdim=True))
    print(json.dumps({"prepared_s": round(made_s, 2), "radius_px": radius_px}), flush=True)
    for _ in sys.stdin:
        if options.side == "disk" and not options.warm:
            forget(folder)
        spent = one_pass(model, cache, radius_px)
        print(
            json.dumps({"pass_s": round(spent, 3), "peak_memory_MB": round(peak_memory_MB(), 1)}), flush=True
        )


class Side:
    """A child and what it says."""

    def __init__(self, name: str, options: argparse.Namespace, star: Path, folder: Path) -> None:
        words = [str(star), "--side", name, "--folder", str(folder), "--precision", options.precision]
        words += ["--threads", str(options.threads)]
        words += ["--memory-limit", str(options.memory_limit)] if options.memory_limit else []
        words += ["--radius-px", str(options.radius_px)] if options.radius_px else []
        words += ["--warm"] if options.warm else []
        self._child = subprocess.Popen(
            [sys.executable, __file__, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # As the command line does: tables' own allocator would set a gigabyte of the limit aside.
            env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"},
        )
        self.begun = self._answer()

    def _answer(self) -> dict[str, float]:
        line = self._child.stdout.readline() if self._child.stdout else ""
        if not line:
            sys.exit(f"a side ended with status {self._child.wait()}")
        return json.loads(line)

    def one_pass(self) -> dict[str, float]:
        """What it says about one more pass."""
        assert self._child.stdin is not None
        self._child.stdin.write("pass\n")
        self._child.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """Let it end."""
        self._child.communicate()


def repeated(star: Path, wanted: int, folder: Path) -> Path:
    """A star file with the rows of another, again and again."""
    lines = star.read_text().splitlines()
    start = max(i for i, line in enumerate(lines) if line.startswith("_")) + 1
    rows = [
        line.replace("@", f"@{star.parent.absolute()}/") if "@/" not in line else line
        for line in lines[start:]
        if line.strip()
    ]
    target = folder / "repeated.star"
    with target.open("w") as stream:
        stream.write("\n".join(lines[:start]) + "\n")
        stream.writelines(rows[i % len(rows)] + "\n" for i in range(wanted))
    return target


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Times of passes, memory and disk by turns."""
    star, cache = Path(options.particles), Path(options.folder or folder / "cache")
    particles = read_particles(star)
    if options.times_limit:
        row_bytes = 3 * np.dtype(options.precision).itemsize * len(sample_plane(particles))
        wanted = math.ceil(1e9 * options.memory_limit * options.times_limit / row_bytes)
        star = repeated(star, max(wanted, len(particles)), folder)
        particles = read_particles(star)
    sides = {name: Side(name, options, star, cache) for name in ("disk", "memory")}
    times: dict[str, list[float]] = {name: [] for name in sides}
    peaks: dict[str, float] = {}
    for turn in range(options.repeat + 1):
        for name, side in sides.items():
            said = side.one_pass()
            peaks[name] = said["peak_memory_MB"]
            if turn:  # the first compiles and fills what is kept
                times[name].append(said["pass_s"])
    for side in sides.values():
        side.end()
    size = sum(path.stat().st_size for path in cache.glob("*.float*"))
    limit_MB = 1e3 * options.memory_limit if options.memory_limit else None
    if limit_MB and peaks["disk"] > limit_MB:
        sys.exit(f"the disk's side took {peaks['disk']:.0f} MB, more than the limit of {limit_MB:.0f} MB")
    return {
        "particles": len(particles),
        "box_px": particles.box_px,
        "radius_px": sides["disk"].begun["radius_px"],
        "precision": options.precision,
        "file_MB": round(size / 1e6, 1),
        "memory_limit_MB": limit_MB,
        "file_over_limit": round(size / 1e6 / limit_MB, 2) if limit_MB else None,
        "prepared_s": {name: side.begun["prepared_s"] for name, side in sides.items()},
        "pass_s": times,
        "cost": round(median(times["disk"]) / median(times["memory"]), 3),
        "peak_memory_MB": peaks,
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("particles", help="star file with poses")
    parser.add_argument("--memory-limit", type=float, help="GB that the disk's side may have")
    parser.add_argument("--times-limit", type=float, help="repeat rows until the samples are so many limits")
    parser.add_argument("--folder", help="where the file lies; a temporary folder by default")
    parser.add_argument("--precision", default="float32", choices=["float32", "float16"])
    parser.add_argument("--radius-px", type=int, help="Fourier radius; all that the box has by default")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--warm", action="store_true", help="leave the file in the system's memory")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", choices=["memory", "disk"], help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", help="write the JSON object to a file as well")
    options = parser.parse_args()
    use_machine("cpu", options.threads)
    if options.side:
        be_one_side(options)
        return
    if options.times_limit and not options.memory_limit:
        parser.error("--times-limit needs --memory-limit")
    with tempfile.TemporaryDirectory(prefix="nunatak_") as name:
        found = measure(options, Path(name))
    report({**machine(options.threads), **found}, options.output)


if __name__ == "__main__":
    main()

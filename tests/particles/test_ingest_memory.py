"""Reading a large set takes the memory of a tile, however many tiles there are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.write import write_simulation

IMAGES, TILE = 14_000, 64
EARLY, LATE = 60, 215
# Data that the process holds, and not what of it is resident: files' pages come and go.
PROGRAM = """
import json, sys
from pathlib import Path
from nunatak.particles.cache import CachePlan, Tiles, build_cache
from nunatak.particles.cache_files import CachePlace
from nunatak.particles.reading import read_particles
from nunatak.runs.machine import use_machine

def held_kB():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmData")))

use_machine("cpu", 1)
particles, told = read_particles(sys.argv[1]), {}
plan = CachePlan(tiles=Tiles(ingest=int(sys.argv[3])), place=CachePlace(Path(sys.argv[2])))
build_cache(particles, 1, 12.0, plan, lambda done: told.setdefault(done // int(sys.argv[3]), held_kB()))
print(json.dumps(told))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell in /proc")
def test_memory_does_not_grow_with_the_tiles(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_simulation(folder, SimulationConfig(particles=400, box_px=48, snr=1.0, seed=1))
    lines = (folder / "particles.star").read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if "@" in line)
    rows = [line for line in lines[first:] if "@" in line]
    repeated = [*lines[:first], *(rows[i % len(rows)] for i in range(IMAGES))]
    (folder / "repeated.star").write_text("\n".join(repeated) + "\n")
    words = [folder / "repeated.star", tmp_path / "cache", TILE]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, words)], capture_output=True, text=True, check=True
    )
    held_kB = json.loads(done.stdout)
    # A tenth of a megabyte a tile was lost once, a gigabyte in ten thousand tiles.
    assert held_kB[str(LATE)] - held_kB[str(EARLY)] < 4_000

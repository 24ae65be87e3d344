"""Memory: what is predicted, what is chosen under a limit, and what a run takes."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nunatak.core.collective import ALONE, Group
from nunatak.core.errors import InputError
from nunatak.particles.cache import Tiles
from nunatak.particles.reading import read_particles
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.consensus import ConsensusConfig
from nunatak.reconstruct.memory import SMALLEST, Workload, choose, predict
from nunatak.runs.execute import start_run
from nunatak.runs.job import InputConfig, JobConfig, MemoryConfig
from nunatak.runs.memory import _control_groups, free_memory_bytes, provide, resident_bytes, write_plan
from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.write import write_simulation

BASE = 500_000_000
LARGE = Workload(100_000, 100_000, 128, 63, 0, ConsensusConfig())
PROGRAM = [sys.executable, "-m", "nunatak"]


@pytest.fixture(scope="module")
def star(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("memory") / "set"
    write_simulation(folder, SimulationConfig(particles=120, box_px=32, snr=1.0, seed=4))
    return folder / "truth.star"


def test_a_limit_takes_smaller_tiles_then_the_disk_then_says_no() -> None:
    free = predict(LARGE, Tiles(), False, BASE)
    assert choose(LARGE, math.inf, BASE, None) == free
    assert free.parts["images"] == pytest.approx(7.5e9, rel=0.01)
    tighter = choose(LARGE, 0.97 * free.peak_bytes, BASE, None)
    assert not tighter.on_disk
    assert tighter.tiles.local < Tiles().local
    assert tighter.peak_bytes <= 0.97 * free.peak_bytes
    streamed = choose(LARGE, 0.5 * free.peak_bytes, BASE, None)
    assert streamed.on_disk
    assert streamed.parts["images"] == 0
    assert choose(LARGE, 0.5 * free.peak_bytes, BASE, False) is None
    assert choose(LARGE, BASE, BASE, None) is None
    smallest = predict(LARGE, SMALLEST, True, BASE)
    tightest = choose(LARGE, smallest.peak_bytes, BASE, None)
    assert tightest.peak_bytes == smallest.peak_bytes
    assert choose(LARGE, smallest.peak_bytes - 1, BASE, None) is None


def test_shares_of_the_images_take_their_share_of_memory() -> None:
    whole, half = (predict(replace(LARGE, held=n), Tiles(), False, BASE) for n in (100_000, 50_000))
    assert half.parts["images"] * 2 == whole.parts["images"]
    assert half.parts["particles"] == whole.parts["particles"]


def test_what_this_process_has_and_may_take() -> None:
    assert 50e6 < resident_bytes() < 50e9
    free = free_memory_bytes()
    assert free is None or free > 0


def test_the_limit_of_a_group_far_below_the_mount_counts(tmp_path: Path) -> None:
    """Where a batch system puts a job; version 1 names its controllers, version 2 does not."""
    listed = tmp_path / "cgroup"
    listed.write_text("4:cpu,memory:/slurm/job_7\n3:pids:/elsewhere\n0::/user/one\n")
    found = [(str(folder), limit) for folder, limit, _ in _control_groups(listed)]
    assert ("/sys/fs/cgroup/user/one", "memory.max") in found
    assert ("/sys/fs/cgroup/memory/slurm/job_7", "memory.limit_in_bytes") in found
    assert ("/sys/fs/cgroup/memory/slurm", "memory.limit_in_bytes") in found
    alone = [str(folder) for folder, *_ in _control_groups(tmp_path / "nothing")]
    assert alone == ["/sys/fs/cgroup", "/sys/fs/cgroup/memory"]


def test_threads_and_functions_take_memory() -> None:
    """A block of sums for each thread but the first; functions of the latent as many channels as they are."""
    work = Workload(1000, 1000, 64, 31, 2, None)
    alone, shared = (predict(replace(work, threads=n), Tiles(), False, BASE).parts for n in (1, 2))
    voxels = 127 * 127 * 64
    assert shared["local step"] - alone["local step"] == voxels * (8 * 3 + 4 * 6)
    curved = predict(replace(work, functions=8), Tiles(), False, BASE).parts
    assert curved["maps"] - alone["maps"] > 2 * voxels * (8 * 6 + 4 * (45 - 6))
    assert alone["maps"] == shared["maps"]


def job(star: Path, **asked: object) -> JobConfig:
    return JobConfig(command="reconstruct", input=InputConfig(particles=star), memory=MemoryConfig(**asked))


def test_too_little_memory_is_a_sentence(star: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"at least \d.\d\d GB were expected") as caught:
        provide(job(star, memory_limit_GB=0.01), read_particles(star), ALONE, tmp_path)
    assert "\n" not in str(caught.value)
    assert "--cache be auto" not in str(caught.value)
    with pytest.raises(InputError, match="--cache be auto"):
        provide(job(star, memory_limit_GB=0.01, cache="memory"), read_particles(star), ALONE, tmp_path)


def test_the_disk_is_taken_where_it_is_asked_for(star: Path, tmp_path: Path) -> None:
    found = provide(job(star, cache="disk", cache_precision="float16"), read_particles(star), ALONE, tmp_path)
    assert found.cache.place.folder == tmp_path / "cache"
    assert found.cache.place.dtype.itemsize == 2
    assert "on the disk" in found.sentence


def test_a_run_that_goes_on_takes_its_tiles_again(star: Path, tmp_path: Path) -> None:
    particles = read_particles(star)
    first = provide(job(star), particles, ALONE, tmp_path)
    assert first.cache.tiles == Tiles()
    write_plan(tmp_path, replace(first.memory, tiles=Tiles(64, 128, 8)))
    assert provide(job(star), particles, Group(), tmp_path).cache.tiles == Tiles(64, 128, 8)
    (tmp_path / "plan.json").write_text("{")
    assert provide(job(star), particles, ALONE, tmp_path).cache.tiles == Tiles()


def test_short_memory_means_fewer_dimensions_before_it_means_no(tmp_path: Path) -> None:
    """Halfway between what three and four dimensions take there is room for three."""
    write_simulation(tmp_path / "set", SimulationConfig(particles=60, box_px=64, snr=1.0))
    star, coarse = tmp_path / "set" / "truth.star", ConsensusConfig(healpix_order=1)
    threads, base = torch.get_num_threads(), resident_bytes()
    works = [Workload(60, 60, 64, 31, latents, coarse, 0, threads) for latents in (3, 4)]
    three, four = (predict(work, SMALLEST, True, base).peak_bytes for work in works)
    asked = JobConfig(
        input=InputConfig(particles=star),
        engine=EngineConfig(healpix_order=1, landscape_functions=0),
        memory=MemoryConfig(memory_limit_GB=(three + four) / 2e9),
    )
    found = provide(asked, read_particles(star), ALONE, tmp_path)
    assert found.most_latents == 3
    assert "there is room for 3 latent dimensions and not 8" in found.sentence
    fixed = asked.model_copy(update={"engine": asked.engine.model_copy(update={"latent_dim": 4})})
    with pytest.raises(InputError, match="with 4 latent dimensions: at least"):
        provide(fixed, read_particles(star), ALONE, tmp_path)
    write_plan(tmp_path, found.memory)  # a run that has begun with eight is not changed
    with pytest.raises(InputError, match="with 8 latent dimensions: at least"):
        provide(asked, read_particles(star), ALONE, tmp_path)
    report = start_run(asked, tmp_path / "run", "here")
    assert report.job.engine.most_latent_dim == 3
    assert "most_latent_dim = 3" in (tmp_path / "run" / "config.toml").read_text()


def taken(run: Path) -> tuple[float, float]:
    """Predicted and measured peak, MB."""
    summary = json.loads((run / "summary.json").read_text())
    return summary["predicted_memory_MB"], summary["peak_memory_MB"]


def run_limited(words: list[object], limit_bytes: int | None, patience_s: float) -> None:
    """Run a command in a process of its own that may not have more private memory than that."""

    def limit() -> None:
        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))

    one = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run(
        [*PROGRAM, *map(str, words)],
        preexec_fn=limit,
        env=one,
        capture_output=True,
        text=True,
        timeout=patience_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr


FINE = {
    **{"latent_dim": 0, "healpix_order": 3, "shift_step_px": 0.5, "restarts": 1, "start_updates": 5},
    **{"radius_start_px": 4, "radius_end_px": 5, "refine_passes": 1},
}
"""36,864 poses and 253 shifts of even 16 images at a time take more than 2 GB."""


def test_what_is_free_cuts_the_tiles(star: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, particles = (
        JobConfig(input=InputConfig(particles=star), engine=EngineConfig(**FINE)),
        read_particles(star),
    )
    unlimited = provide(asked, particles, ALONE, tmp_path)
    assert unlimited.cache.tiles == Tiles()
    assert unlimited.memory.peak_bytes > 2.2e9
    monkeypatch.setattr("nunatak.runs.memory.free_memory_bytes", lambda: 1_500_000_000)
    cut = provide(asked, particles, ALONE, tmp_path)
    assert cut.cache.tiles.search < Tiles().search
    assert cut.memory.peak_bytes < resident_bytes() + 1_500_000_000


@pytest.mark.truth
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_search_larger_than_2_GB_is_cut_to_fit_it(star: Path, tmp_path: Path) -> None:
    given = [f"--{name.replace('_', '-')}={value}" for name, value in FINE.items()]
    run_limited(["abinit", star, "-o", tmp_path / "run", *given, "--threads=1"], 2 << 30, 3600)
    predicted, measured = taken(tmp_path / "run")
    assert predicted < 2150
    assert measured < 2150


CONFIGURATIONS = {
    "abinit": (48, 800, 0.5, "abinit", "--latent-dim=0 --restarts=1 --start-updates=5 --refine-passes=1"),
    "fine-grid": (32, 400, 0.5, "abinit", "--latent-dim=0 --restarts=1 --start-updates=5 --healpix-order=3"),
    # What is counted is a bound; these images reach it: to the last shell, with every function asked for.
    "latents": (64, 600, 5.0, "heterogeneity", "--latent-dim=3 --grow-passes=2 --landscape-functions=5"),
    "large-box": (128, 400, 0.5, "reconstruct", "--latent-dim=0"),
    "disk": (128, 400, 0.5, "reconstruct", "--latent-dim=0 --cache=disk"),
}


@pytest.mark.truth
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_predictions_are_within_a_fifth_of_what_is_taken(name: str, tmp_path: Path) -> None:
    box_px, count, snr, command, more = CONFIGURATIONS[name]
    write_simulation(tmp_path / "set", SimulationConfig(particles=count, box_px=box_px, snr=snr, seed=1))
    words = [command, tmp_path / "set" / "truth.star", "-o", tmp_path / "run", "--threads=1", *more.split()]
    run_limited(words, None, 3600)
    predicted, measured = taken(tmp_path / "run")
    assert 0.8 < predicted / measured < 1.2, (predicted, measured)

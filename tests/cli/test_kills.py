"""Fifty kills at random moments of runs, each resumed: the numbers of a run that nothing stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from _commands import TINY, environment, same_results, succeed

from nunatak.runs.checkpoint import load_checkpoint

KILLS = 50
PATIENCE_S = 900.0
# Ends the process without a word at a moment of its own: after so much processor time of computing, wherever
# that is, or before or after the n-th time that a file is flushed, moved or removed.
PROGRAM = """
import os, signal, sys
kind, moment = sys.argv[1], float(sys.argv[2])
from nunatak.cli.main import main
from nunatak.export import report
from nunatak.runs import execute

def end():
    os.kill(os.getpid(), signal.SIGKILL)

def counted(real):
    def call(*arguments, **named):
        global moment
        moment -= 1
        if moment < 0 and kind == "before":
            end()
        result = real(*arguments, **named)
        if moment < 0:
            end()
        return result
    return call

def begun(*arguments, **named):
    if kind == "time":
        signal.setitimer(signal.ITIMER_PROF, moment)
    else:
        for name in ("fsync", "replace", "unlink"):
            setattr(os, name, counted(getattr(os, name)))
    return prepare(*arguments, **named)

prepare, execute.prepare = execute.prepare, begun
report.write_report = lambda folder: folder / "report.html"  # it takes longer than all passes
main(sys.argv[3:])
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """A command but for its run folder: few particles, as many passes as with more."""
    folder = tmp_path_factory.mktemp("simulated") / "few"
    options = "--particles 80 --box-px 32 --snr 1 --motion hinge --states 4 --seed 1 --threads 1"
    succeed("simulate", folder, *options.split())
    return ["abinit", folder / "particles.star", "--latent-dim", 1, *TINY]


@pytest.fixture(scope="module")
def straight(job: list[object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the run that nothing stopped."""
    run = tmp_path_factory.mktemp("runs") / "straight"
    succeed(*job, "-o", run)
    return run


def moments(seed: int) -> list[tuple[str, float]]:
    """How each kill is made: by time, or at a file operation."""
    generator = np.random.default_rng(seed)
    kinds = generator.choice(["time", "before", "after"], 20 * KILLS, p=[0.5, 0.25, 0.25])
    most = {"time": 1.0, "before": 60, "after": 60}
    return [(str(kind), float(generator.uniform(0, most[kind]))) for kind in kinds]


def history(run: Path) -> tuple[dict, ...]:
    saved = load_checkpoint(run / "checkpoint")
    return () if saved is None else saved[0].history


def words(job: list[object], run: Path, on_disk: bool) -> list[object]:
    """The command that begins a run or goes on with it."""
    if (run / "config.toml").exists():
        return ["resume", run]
    return [*job, "-o", run, *(["--cache", "disk"] if on_disk else [])]


@pytest.mark.truth
@pytest.mark.skipif(sys.platform != "linux", reason="the timer's signal ends a process on Linux")
def test_fifty_kills(job: list[object], straight: Path, tmp_path: Path) -> None:
    """Several kills in a run, the samples of every other one on the disk; every checkpoint is looked at."""
    expected, killed, number, reached = history(straight), {"time": 0, "file": 0}, 0, 0
    for kind, moment in moments(2):
        if sum(killed.values()) == KILLS:
            break
        run = tmp_path / str(number)
        program = [sys.executable, "-c", PROGRAM, kind, moment, *words(job, run, number % 2 == 1)]
        done = subprocess.run(
            [*map(str, program)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        found = history(run)
        assert found == expected[: len(found)], (kind, moment)
        assert len(found) >= reached, (kind, moment)
        reached = len(found)
        with (tmp_path / "moments.txt").open("a") as stream:
            stream.write(f"{number} {kind} {moment:.4f} {reached} passes, status {done.returncode}\n")
        if done.returncode == 0:
            assert same_results(run, straight), run
            number, reached = number + 1, 0
            continue
        assert done.returncode in (-signal.SIGKILL, -signal.SIGPROF), done.stderr
        killed["time" if kind == "time" else "file"] += 1
    succeed(*words(job, tmp_path / str(number), number % 2 == 1))
    assert same_results(tmp_path / str(number), straight)
    assert sum(killed.values()) == KILLS
    assert min(killed.values()) > KILLS // 5, killed

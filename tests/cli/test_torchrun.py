"""One run in several processes, as torchrun starts them: one result, one sentence; others can go on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from _commands import TINY, call, environment, succeed

from nunatak.core.collective import Group
from nunatak.reconstruct.recipes import RECIPES
from nunatak.reconstruct.stages import PoseSource

PATIENCE_S = 900.0


def start_processes(size: int, *words: object) -> subprocess.Popen[str]:
    """Start a command in so many processes of one machine."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"]
    return subprocess.Popen(
        [*launch, "-m", "nunatak", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, list[str]]:
    """Exit status of the launcher, standard output, and what our processes said at the end."""
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    # The launcher adds a report of its own.
    return process.returncode, out, [line for line in err.splitlines() if re.match(r"nunatak \w+: ", line)]


def children(process: subprocess.Popen[str]) -> list[int]:
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return sorted(map(int, found))


def passes_done(run: Path) -> int:
    history = run / "history.jsonl"
    return len(history.read_text().splitlines()) if history.exists() else 0


def job(simulated: Path, run: Path) -> list[object]:
    return ["abinit", simulated / "particles.star", "-o", run, "--latent-dim", 1, *TINY]


def names(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*") if "checkpoint" not in path.parts}


@pytest.mark.skipif(sys.platform != "linux", reason="looks for child processes in /proc")
def test_a_lost_process_ends_the_job_and_another_number_goes_on(
    simulated: Path, heterogeneous_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = start_processes(2, *job(simulated, run))
    end = time.monotonic() + PATIENCE_S
    while passes_done(run) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    lost = children(process)[-1]
    os.kill(lost, signal.SIGKILL)
    status, out, said = ended(process)
    assert status != 0
    assert not out.strip()
    assert len(said) == 1, said
    assert "was lost" in said[0]
    assert "nunatak resume" in said[0]
    before = (run / "history.jsonl").read_text().splitlines()
    status, out, said = ended(start_processes(3, "resume", run))
    assert status == 0, said
    assert out.count("report:") == 1
    after = (run / "history.jsonl").read_text().splitlines()
    assert after[: len(before)] == before
    straight = (heterogeneous_run / "history.jsonl").read_text().splitlines()
    stages = [[json.loads(line)["stage"] for line in lines] for lines in (after, straight)]
    assert stages[0] == stages[1]
    assert names(run) == names(heterogeneous_run)
    assert not list(run.rglob("*.part"))
    # And one process alone takes over what three have left.
    succeed("resume", run)


def test_bad_input_is_one_sentence_of_all_processes(simulated: Path, tmp_path: Path) -> None:
    status, out, said = ended(start_processes(2, "abinit", tmp_path / "nothing.star", "-o", tmp_path / "run"))
    assert status != 0
    assert not out.strip()
    assert len(said) == 1, said
    assert "nothing.star" in said[0]
    assert not (tmp_path / "run").exists()


def test_recipes_of_one_process_say_so(
    simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those whose passes look images up in a way of their own."""
    from nunatak.runs import execute

    monkeypatch.setattr(execute, "meet", lambda device: Group(0, 2))
    shared = {recipe.name for recipe in RECIPES if recipe.shared}
    assert shared == {"nunatak", "fixed-poses", "refined-poses"}
    other = next(r for r in RECIPES if not r.shared and r.poses is PoseSource.FOUND)
    words = ["abinit", simulated / "particles.star", "-o", tmp_path / "run", "--recipe", other.name]
    done = call(*words)
    assert done.is_refused(), done
    assert "without torchrun" in done.err
    assert not (tmp_path / "run").exists()


def test_commands_of_one_process_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = call("analyze", tmp_path)
    assert done.is_refused(), done
    assert "without torchrun" in done.err

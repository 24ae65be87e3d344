"""A run that was killed, interrupted, or ran out of disk goes on to the numbers of one that was not."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from _commands import TINY, call, particle_lines, same_results, start, succeed

from nunatak.runs.checkpoint import load_checkpoint

PATIENCE_S = 60.0
PARTICLES = 80
"""As many passes as with more, of the shortest."""


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of few particles: every test below makes a run on them."""
    folder = tmp_path_factory.mktemp("simulated") / "few"
    options = f"--particles {PARTICLES} --box-px 32 --snr 1 --motion hinge --states 4 --seed 1 --threads 1"
    succeed("simulate", folder, *options.split())
    return folder


@pytest.fixture(scope="module")
def saved_states() -> list[str]:
    """The states that the run below saves, in order."""
    return []


@pytest.fixture(scope="module")
def heterogeneous_run(
    simulated: Path, saved_states: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of the run that nothing stopped."""
    run, move = tmp_path_factory.mktemp("runs") / "straight", os.replace

    def replace(source: str, target: str) -> None:
        if Path(target).name.startswith("state-"):
            saved_states.append(Path(target).name)
        move(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nunatak.io.atomic.os.replace", replace)
        succeed(*words(simulated, run))
    return run


def words(simulated: Path, run: Path, *more: object) -> list[object]:
    return ["abinit", simulated / "particles.star", "-o", run, "--latent-dim", 1, *TINY, *more]


def wait_until(reached: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < end, f"waited {PATIENCE_S:g} s for {what}"
        time.sleep(0.005)


def passes_done(run: Path) -> int:
    index = run / "checkpoint" / "current.json"
    return len(json.loads(index.read_text())["state"]["fields"]["history"]["tuple"]) if index.exists() else 0


def kill_after(simulated: Path, run: Path, passes: int, wait_s: float, with_signal: int) -> tuple[int, str]:
    """Start a run, stop it so many seconds after so many passes; its exit status and standard error."""
    process = start(*words(simulated, run))
    try:
        wait_until(
            lambda: (
                process.poll() is not None or ((run / "config.toml").exists() and passes_done(run) >= passes)
            ),
            f"pass {passes}",
        )
        time.sleep(wait_s)
        process.send_signal(with_signal)
        _, said = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    return process.returncode, said


def random_moments(count: int, seed: int) -> list[tuple[int, float]]:
    """(passes, seconds after them): the first lies before the first checkpoint."""
    generator = np.random.default_rng(seed)
    later = generator.integers(1, 10, count - 1)
    return [(0, 0.05), *((int(passes), float(generator.uniform(0, 0.1))) for passes in later)]


def check_kill(simulated: Path, reference: Path, run: Path, moment: tuple[int, float]) -> None:
    status, said = kill_after(simulated, run, *moment, signal.SIGKILL)
    assert status == -signal.SIGKILL, said
    succeed("resume", run)
    assert same_results(run, reference), f"killed {moment[1]:.3f} s after pass {moment[0]}"
    assert not list(run.rglob("*.part"))


@pytest.mark.parametrize("moment", random_moments(2, 0), ids=lambda moment: f"pass{moment[0]}")
def test_killed_and_resumed(
    moment: tuple[int, float], simulated: Path, heterogeneous_run: Path, tmp_path: Path
) -> None:
    check_kill(simulated, heterogeneous_run, tmp_path / "run", moment)


def test_interrupted_and_resumed(simulated: Path, heterogeneous_run: Path, tmp_path: Path) -> None:
    status, said = kill_after(simulated, tmp_path / "run", 2, 0.02, signal.SIGINT)
    assert status == 130, said
    last = said.strip().splitlines()[-1]
    assert last.startswith("nunatak abinit: stopped")
    assert "Traceback" not in said
    succeed("resume", tmp_path / "run")
    assert same_results(tmp_path / "run", heterogeneous_run)


class Stopped(BaseException):
    """A kill, in this process."""


def stop_when(monkeypatch: pytest.MonkeyPatch, name: str, count: int, error: BaseException) -> None:
    """Let the count-th move of a file of that beginning into its place fail."""
    real, seen = os.replace, []

    def replace(source: str, target: str) -> None:
        if Path(target).name.startswith(name):
            seen.append(target)
            if len(seen) == count:
                raise error
        real(source, target)

    monkeypatch.setattr("nunatak.io.atomic.os.replace", replace)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("state-", 4),
        ("current.json", 1),
        ("history.jsonl", 3),
        ("particles.star", 1),
        ("summary.json", 1),
    ],
)
def test_stopped_while_a_file_is_written(
    name: str, count: int, simulated: Path, heterogeneous_run: Path, tmp_path: Path, monkeypatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_when(patch, name, count, Stopped())
        with pytest.raises(Stopped):
            call(*words(simulated, run))
    succeed("resume", run)
    assert same_results(run, heterogeneous_run)
    lines = (run / "history.jsonl").read_text().splitlines()
    assert len(lines) == len((heterogeneous_run / "history.jsonl").read_text().splitlines())


def test_the_last_checkpoint_does_not_overwrite_the_one_before(
    simulated: Path, heterogeneous_run: Path, saved_states: list[str], tmp_path: Path, monkeypatch
) -> None:
    """The last pass adds no line of history: what a checkpoint is named after must still be new."""
    run = tmp_path / "run"
    assert len(set(saved_states)) == len(saved_states) > 10
    with monkeypatch.context() as patch:
        stop_when(patch, "current.json", len(saved_states), Stopped())
        with pytest.raises(Stopped):
            call(*words(simulated, run))
    assert load_checkpoint(run / "checkpoint") is not None
    succeed("resume", run)
    assert same_results(run, heterogeneous_run)


def test_a_full_disk(simulated: Path, heterogeneous_run: Path, tmp_path: Path, monkeypatch) -> None:
    run, full = tmp_path / "run", OSError(errno.ENOSPC, "No space left on device", "state")
    with monkeypatch.context() as patch:
        stop_when(patch, "state-", 5, full)
        done = call(*words(simulated, run))
    assert done.status == 1
    assert "No space left on device" in done.err.strip().splitlines()[-1]
    assert "Traceback" not in done.err
    saved = load_checkpoint(run / "checkpoint")
    assert saved is not None
    assert not list(run.rglob("*.part"))
    succeed("resume", run)
    assert same_results(run, heterogeneous_run)


def test_a_disk_that_fills_while_tensors_are_written(
    simulated: Path, heterogeneous_run: Path, tmp_path: Path, monkeypatch
) -> None:
    """The library of the file format has an error of its own for it."""
    from safetensors import SafetensorError

    def full(*arguments: object) -> None:
        raise SafetensorError("IoError: No space left on device (os error 28)")

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("nunatak.runs.tensors.save_file", full)
        done = call(*words(simulated, run))
    assert done.status == 1
    assert "make room" in done.err.strip().splitlines()[-1]
    succeed("resume", run)
    assert same_results(run, heterogeneous_run)


def test_images_on_the_disk_change_nothing(
    simulated: Path, heterogeneous_run: Path, tmp_path: Path, monkeypatch
) -> None:
    """Not even when the run is stopped and goes on; the samples go when it ends."""
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_when(patch, "state-", 6, Stopped())
        with pytest.raises(Stopped):
            call(*words(simulated, run, "--cache", "disk"))
    assert (run / "cache" / "index.json").exists()
    succeed("resume", run)
    assert same_results(run, heterogeneous_run)
    assert not (run / "cache").exists()


def nothing_left(stack: Path) -> None:
    stack.unlink()


def cut_short(stack: Path) -> None:
    stack.write_bytes(stack.read_bytes()[:-1000])


def not_a_number(stack: Path) -> None:
    content = bytearray(stack.read_bytes())
    content[5000:5004] = np.float32(np.nan).tobytes()
    stack.write_bytes(bytes(content))


def test_a_stack_that_is_lost_while_a_run_is_stopped(simulated: Path, tmp_path: Path, monkeypatch) -> None:
    """One sentence, and what was computed stays: with the stack back, the run goes on."""
    import shutil

    particles, run = shutil.copytree(simulated, tmp_path / "set"), tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_when(patch, "state-", 3, Stopped())
        with pytest.raises(Stopped):
            call(*words(particles, run))
    stack = particles / "particles.mrcs"
    whole, state = stack.read_bytes(), load_checkpoint(run / "checkpoint")
    for harm in (nothing_left, cut_short, not_a_number):
        harm(stack)
        done = call("resume", run)
        assert done.is_refused(), (harm.__name__, done)
        stack.write_bytes(whole)
    again = load_checkpoint(run / "checkpoint")
    assert again is not None
    assert state is not None
    assert again[0].history == state[0].history
    succeed("resume", run)


def damaged(folder: Path, how: str) -> None:
    index = folder / "current.json"
    tensors = folder / json.loads(index.read_text())["tensors"]
    if how == "truncated":
        tensors.write_bytes(tensors.read_bytes()[:-100])
    elif how == "missing":
        tensors.unlink()
    elif how == "broken":
        index.write_text(index.read_text()[:200])
    elif how == "strange":
        index.write_text(json.dumps([1, 2]))
    elif how == "later":
        index.write_text(json.dumps({**json.loads(index.read_text()), "schema": 99}))
    else:
        content = json.loads(index.read_text())
        content["state"]["class"] = "NoSuchClass"
        index.write_text(json.dumps(content))


@pytest.mark.parametrize("how", ["truncated", "missing", "broken", "strange", "later", "unknown class"])
def test_a_damaged_checkpoint(how: str, heterogeneous_run: Path, tmp_path: Path) -> None:
    import shutil

    run = shutil.copytree(heterogeneous_run, tmp_path / "run")
    damaged(run / "checkpoint", how)
    (run / "checkpoint" / "previous.json").unlink()
    done = call("resume", run)
    assert done.is_refused(), done
    assert "checkpoint" in done.err


def test_a_damaged_checkpoint_costs_one_pass(heterogeneous_run: Path, tmp_path: Path) -> None:
    import shutil

    run = shutil.copytree(heterogeneous_run, tmp_path / "run")
    damaged(run / "checkpoint", "truncated")
    succeed("resume", run)
    assert same_results(run, heterogeneous_run)


def test_an_existing_run_is_not_overwritten(simulated: Path, heterogeneous_run: Path) -> None:
    before = particle_lines(heterogeneous_run)
    done = call(*words(simulated, heterogeneous_run))
    assert done.is_refused()
    assert "nunatak resume" in done.err
    assert particle_lines(heterogeneous_run) == before


def test_resume_needs_a_run(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        assert call("resume", folder).is_refused()
    (tmp_path / "config.toml").write_text("this is = no = toml")
    assert call("resume", tmp_path).is_refused()
    (tmp_path / "config.toml").write_text('command = "abinit"\nnonsense = 3\n')
    assert call("resume", tmp_path).is_refused()


def test_resume_wants_the_particles_it_began_with(
    heterogeneous_run: Path, simulated: Path, tmp_path: Path
) -> None:
    import shutil

    from _commands import read_tables, write_tables

    run = shutil.copytree(heterogeneous_run, tmp_path / "run")
    optics, rows = read_tables(simulated / "particles.star")
    rows["rlnImageName"] = [name.replace("@", f"@{simulated}/") for name in rows["rlnImageName"]]
    shorter = write_tables(tmp_path / "shorter.star", optics, rows.iloc[:30])
    config = (run / "config.toml").read_text()
    (run / "config.toml").write_text(config.replace(str(simulated / "particles.star"), str(shorter)))
    done = call("resume", run)
    assert done.is_refused(), done
    assert "30 particles" in done.err


def test_resume_keeps_to_the_seed(heterogeneous_run: Path) -> None:
    assert call("resume", heterogeneous_run, "--seed", 5).is_refused()


def test_a_finished_run_is_resumed_to_itself(heterogeneous_run: Path, tmp_path: Path) -> None:
    import shutil

    run = shutil.copytree(heterogeneous_run, tmp_path / "run")
    succeed("resume", run, "--seed", 0)
    assert same_results(run, heterogeneous_run)

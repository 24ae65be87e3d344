"""Help, version and usage: quick, and one sentence when something is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
import torch
from _commands import PROGRAM, call, environment

from nunatak import __version__
from nunatak.cli.main import COMMANDS

HELP_SECONDS = 1.0
HEAVY = ("torch", "numba", "scipy", "pandas", "matplotlib", "sklearn")


def seconds(command: list[str]) -> tuple[float, subprocess.CompletedProcess[str]]:
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    return time.perf_counter() - start, done


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_quick(command: str) -> None:
    took, done = seconds([*PROGRAM, *command.split(), "--help"])
    assert done.returncode == 0
    assert done.stderr == ""
    assert "--help" in done.stdout
    bare, _ = seconds([sys.executable, "-c", "pass"])
    assert took < HELP_SECONDS + bare, f"nunatak {command} --help took {took:.2f} s"


def test_help_loads_nothing_heavy() -> None:
    probe = f"""
import contextlib, io, sys
from nunatak.cli.main import COMMANDS, main
for command in COMMANDS:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main([command, "--help"])
    found = [name for name in {HEAVY!r} if name in sys.modules]
    assert not found, (command, found)
"""
    _, done = seconds([sys.executable, "-c", probe])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_told_where_to_compute(command: str) -> None:
    said = call(command, "--help").out
    for option in ("--device", "--threads", "--seed"):
        assert option in said, f"{command} has no {option}"


def test_version() -> None:
    assert call("--version").out.split() == ["nunatak", __version__]


def test_no_command() -> None:
    done = call()
    assert done.status == 2
    assert all(command in done.out for command in COMMANDS)


@pytest.mark.parametrize(
    "words",
    ["frobnicate", "abinit", "abinit --nosuch", "volumes run", "inspect", "select", "evaluate run", "resume"],
)
def test_wrong_usage_is_one_sentence(words: str) -> None:
    done = call(*words.split())
    assert done.is_refused(), done


def test_an_option_that_is_nearly_right_is_named() -> None:
    assert "is --latent-dim meant?" in call("abinit", "a.star", "-o", "run", "--latent-dimm", 3).err


def test_usage_errors_do_not_depend_on_the_terminal() -> None:
    """The library that reads options draws boxes, of other signs where the terminal has no UTF-8."""
    said = {}
    for encoding in ("utf-8", "latin-1"):
        environ = {**environment(), "PYTHONIOENCODING": encoding, "COLUMNS": "40"}
        command = [*PROGRAM, "abinit", "a.star", "-o", "run", "--latent-dim", "many"]
        said[encoding] = subprocess.run(command, capture_output=True, text=True, env=environ).stderr
    assert said["utf-8"] == said["latin-1"]
    assert said["utf-8"].count("\n") == 1
    assert "--latent-dim" in said["utf-8"]


def test_recipes() -> None:
    done = call("recipes")
    assert done.status == 0
    assert "nunatak" in done.out


def test_what_should_not_have_happened_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from nunatak.cli.commands import recipes

    def fail(words: list[str]) -> int:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(recipes, "run", fail)
    done = call("recipes")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "ZeroDivisionError" in done.err
    assert "--debug" in done.err
    with pytest.raises(ZeroDivisionError):
        call("recipes", "--debug")


def test_a_full_gpu_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from nunatak.cli.commands import abinit

    def fill(words: list[str]) -> int:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")

    monkeypatch.setattr(abinit, "run", fill)
    done = call("abinit")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "--memory-limit" in done.err
    assert "stays valid" in done.err


def test_an_interrupt_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from nunatak.cli.commands import abinit

    def interrupt(words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(abinit, "run", interrupt)
    done = call("abinit")
    assert (done.status, done.err.count("\n")) == (130, 1)
    assert "nunatak resume" in done.err


def test_inspect(simulated) -> None:
    done = call("inspect", simulated / "particles.star")
    assert done.status == 0, done.err
    assert "240 particles" in done.out
    assert "box 32 px" in done.out
    for option in ("--json-output", "--json"):
        found = json.loads(call("inspect", simulated / "particles.star", option).out)
        assert (found["rows"], found["has_ctf"], found["missing_stacks"]) == (240, True, [])

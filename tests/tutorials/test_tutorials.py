"""Every tutorial is done: on few small images by default, as it stands where slow tests are asked for."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from nunatak.cli.main import main

TUTORIALS = Path(__file__).resolve().parents[2] / "docs" / "tutorials"
NAMES = sorted(path.stem for path in TUTORIALS.glob("*.md"))
REPLACED = {"--particles": "200", "--box-px": "32", "--snr": "1"}
ENGINE = ("abinit", "reconstruct", "heterogeneity")
SMALL = [
    *("--restarts=1", "--start-updates=6", "--refine-passes=2", "--grow-passes=2"),
    *("--joint-passes=2", "--threads=1", "--healpix-order=1", "--shift-extent-px=1.5"),
    *("--radius-start-px=6", "--radius-end-px=8"),
]
QUICK = ["--map-samples", "6", "--bootstraps", "2", "--steps", "2", "--paths", "dominant"]


def blocks(name: str) -> list[tuple[str, str]]:
    """(language, content) of the fenced blocks of a tutorial, in order."""
    text = (TUTORIALS / f"{name}.md").read_text(encoding="utf-8")
    return re.findall(r"^```(sh|python)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def as_it_stands(words: list[str]) -> list[str]:
    return words


def in_small(words: list[str]) -> list[str]:
    """The same command on few small images, in a few passes."""
    if words[0] == "simulate":
        for option, value in REPLACED.items():
            words[words.index(option) + 1] = value
    if words[0] in ENGINE:
        words = [*words, *SMALL]
    if words[0] == "analyze":
        words = [*words, *QUICK]
    if words[0] == "export":
        words = [*words, "--size-px", "64", "--between", "0"]
    return words


def follow(name: str, change: Callable[[list[str]], list[str]]) -> None:
    """Do what a tutorial says, in the folder one is in."""
    names: dict[str, object] = {}
    for language, content in blocks(name):
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(content, name, "exec"), names)
            continue
        for line in content.strip().splitlines():
            program, *words = shlex.split(line)
            assert program == "nunatak"
            said = io.StringIO()
            with pytest.raises(SystemExit) as stop, contextlib.redirect_stderr(said):
                main(change(words))
            assert stop.value.code == 0, f"{line}: {said.getvalue()}"


def test_the_tutorials_are_there() -> None:
    assert {"first-run", "motion", "composition", "junk", "cryosparc"} <= set(NAMES)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", NAMES)
def test_small(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nunatak.export.report.write_report", lambda folder: folder / "report.html")
    follow(name, in_small)


@pytest.mark.truth
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", NAMES)
def test_as_written(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    follow(name, as_it_stands)

"""`--json`: one object on standard output, for every command; failures too."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from _commands import TINY, Done, call, start, succeed

from nunatak.cli.main import COMMANDS

QUICK = ("--no-umap", "--map-samples", 4, "--bootstraps", 2, "--steps", 2, "--paths", "graph")


def words_of(command: str, run: Path, simulated: Path, out: Path) -> list[object]:
    """A quick way to call a command."""
    truth, tiny = simulated / "truth.star", ["--latent-dim", 0, *TINY]
    ways: dict[str, list[object]] = {
        "simulate": [out, "--particles", 4, "--box-px", 16],
        "inspect": [truth],
        "abinit": [simulated / "particles.star", "-o", out, *tiny],
        "reconstruct": [truth, "-o", out, *tiny],
        "heterogeneity": [truth, "-o", out, "--latent-dim", 1, *TINY[:2], *TINY[3:]],
        "resume": [run],
        "volumes": [run, "-o", out, "--path", 0, "--steps", 2],
        "analyze": [run, *QUICK],
        "select": [run, "-o", out.with_suffix(".star"), "--above", 0],
        "export": [run, "-o", out, "--what", "csv"],
        "convert": [truth, "-o", out.with_suffix(".npz")],
        "evaluate": [run, "--truth", simulated],
        "embed": [run, simulated / "particles.star", "-o", out],
        "grid": [],
        "recipes": [],
    }
    return [command, *ways[command], "--json"]


SAID = {
    "simulate": {"particles", "files"},
    "inspect": {"rows", "has_ctf"},
    "abinit": {"outcome", "resolution_A", "run", "report"},
    "reconstruct": {"outcome", "report"},
    "heterogeneity": {"outcome", "latent_dim"},
    "resume": {"outcome"},
    "volumes": {"maps"},
    "analyze": {"analysis", "outcome"},
    "select": {"selected", "particles", "files"},
    "export": {"files"},
    "convert": {"particles", "written"},
    "evaluate": {"rot_median_deg"},
    "embed": {"particles", "latent_dim", "output"},
    "grid": {"rows"},
    "recipes": {"recipes"},
}
SERVES, TAKES_LONG = "dashboard", "demo"
RUNS_OTHERS = "compare"
"""Its one object is looked at where its runs are made, in test_recipes.py."""


def told(done: Done) -> dict:
    content = json.loads(done.out)
    assert isinstance(content, dict)
    return content


def test_every_command_is_tested_here() -> None:
    assert {*SAID, SERVES, TAKES_LONG, RUNS_OTHERS} == set(COMMANDS)


@pytest.mark.parametrize("command", SAID)
def test_one_object_on_standard_output(
    command: str, heterogeneous_run: Path, simulated: Path, tmp_path: Path
) -> None:
    run = heterogeneous_run
    if command in ("analyze", "resume"):
        run = shutil.copytree(run, tmp_path / "copy")
    content = told(succeed(*words_of(command, run, simulated, tmp_path / "out")))
    assert SAID[command] <= set(content)


def test_the_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The demo's own parts are replaced: it takes minutes."""
    from nunatak.cli import running
    from nunatak.cli.results import Result
    from nunatak.simulate.config import SimulationConfig

    for name in ("write_path", "write_volumes_at_particles"):
        monkeypatch.setattr(f"nunatak.runs.volumes.{name}", lambda *_, **__: None)
    monkeypatch.setattr("nunatak.simulate.config.demo_config", lambda seed: SimulationConfig(particles=40))
    monkeypatch.setattr("nunatak.simulate.write.write_simulation", lambda *_: None)
    monkeypatch.setattr("nunatak.runs.truth.add_truth", lambda *_: {"rot_median_deg": 1.0})
    monkeypatch.setattr(running, "execute", lambda *_: None)
    monkeypatch.setattr(running, "conclude", lambda folder: Result({"outcome": "converged"}, ["Converged."]))
    done = succeed("demo", "-o", tmp_path / "run", "--json")
    assert told(done) == {"outcome": "converged"}
    assert "simulating" in done.err
    assert "median rotation error" in succeed("demo", "-o", tmp_path / "run").out


def test_the_dashboard_says_where_it_listens_before_it_serves(heterogeneous_run: Path) -> None:
    serving = start("dashboard", heterogeneous_run, "--port", 0, "--json")
    try:
        assert serving.stdout is not None
        said = ""
        for line in serving.stdout:
            said += line
            if line.rstrip() == "}":
                break
        assert json.loads(said)["address"].startswith("http://127.0.0.1:")
    finally:
        serving.send_signal(signal.SIGINT)
        serving.communicate(timeout=30)


def test_failures_are_objects_too(tmp_path: Path) -> None:
    done = call("analyze", tmp_path / "nothing", "--json")
    content = json.loads(done.out)
    assert (done.status, content["exit_status"]) == (2, 2)
    assert content["error"] in done.err
    assert json.loads(call("volumes", "--nosuch", "--json").out)["exit_status"] == 2

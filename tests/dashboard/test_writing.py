"""Selections and jobs: what is written, and only with the token."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import _runs
import numpy as np
import pytest
from fastapi.testclient import TestClient

from conftest import BEARER
from nunatak.dashboard.jobs import job_arguments
from nunatak.io.star import read_star
from nunatak.reconstruct.config import EngineConfig
from nunatak.runs.job import InputConfig, JobConfig, MemoryConfig


def test_a_selection_is_exactly_its_particles(writing: TestClient, runs: Path) -> None:
    rows = [250, 3, 7, 3, 44]
    saved = writing.put("/api/runs/first/selections/bent_arm", json={"rows": rows}, headers=BEARER)
    assert saved.status_code == 200, saved.text
    assert saved.json()["count"] == 4
    whole = read_star(runs / "first" / "particles.star").rows
    picked = read_star(runs / "first" / "selections" / "bent_arm.star").rows
    assert list(picked.columns) == list(whole.columns)
    expected = whole.iloc[[3, 7, 44, 250]].reset_index(drop=True)
    assert picked["nunatakPoseConfidence"].tolist() == expected["nunatakPoseConfidence"].tolist()
    np.testing.assert_array_equal(np.load(runs / "first" / "selections" / "bent_arm.npy"), [3, 7, 44, 250])
    assert not list((runs / "first" / "selections").glob(".*")), "parts of files were left"
    listed = writing.get("/api/runs/first/selections").json()
    assert {"bent_arm": 4}.items() <= {one["name"]: one["count"] for one in listed}.items()
    assert writing.get("/api/runs/first/selections/bent_arm").json()["rows"] == [3, 7, 44, 250]
    star = writing.get("/api/runs/first/selections/bent_arm/star")
    assert star.content == (runs / "first" / "selections" / "bent_arm.star").read_bytes()


def test_a_star_can_be_fetched_without_writing(reading: TestClient, runs: Path, tmp_path: Path) -> None:
    answer = reading.post("/api/runs/second/star", json={"rows": [1, 2, 299]})
    assert answer.status_code == 200
    (tmp_path / "fetched.star").write_bytes(answer.content)
    assert len(read_star(tmp_path / "fetched.star").rows) == 3
    assert not (runs / "second" / "selections").exists()


@pytest.mark.parametrize("rows", [[], [300], [-1], ["x"], [0.5], "all", None])
def test_senseless_rows_are_refused(writing: TestClient, rows: object) -> None:
    answer = writing.put("/api/runs/first/selections/odd", json={"rows": rows}, headers=BEARER)
    assert answer.status_code in (400, 422)
    assert answer.json()["detail"].endswith(".")


def test_a_run_that_goes_on_has_no_selections(writing: TestClient) -> None:
    answer = writing.put("/api/runs/live/selections/early", json={"rows": [1]}, headers=BEARER)
    assert answer.status_code == 404


def test_a_jobs_arguments_say_what_differs_from_the_defaults(tmp_path: Path) -> None:
    job = JobConfig(
        command="abinit",
        input=InputConfig(particles=Path("/data/-x.star"), defocus_A=-5.0, no_ctf=True),
        engine=EngineConfig(latent_dim=2, flip_hand=True),
        memory=MemoryConfig(memory_limit_GB=2.5, cache="disk"),
    )
    words = job_arguments(job, tmp_path / "run")
    assert words[:2] == ["abinit", "/data/-x.star"]
    assert set(words[2:]) == {
        f"--output={tmp_path / 'run'}",
        "--latent-dim=2",
        "--flip-hand",
        "--defocus-A=-5.0",
        "--no-ctf",
        "--memory-limit-GB=2.5",
        "--cache=disk",
    }


def test_a_job_runs_and_shows_up(writing: TestClient, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line itself answers: it refuses a stack without a pixel size, which the list shows."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    particles = runs / "first" / "particles.mrcs"
    wanted = {"name": "mine", "job": {"input": {"particles": str(particles)}, "engine": {"latent_dim": 0}}}
    assert writing.post("/api/jobs", json=wanted).status_code == 401
    assert not (runs / "mine").exists()
    started = writing.post("/api/jobs", json=wanted, headers=BEARER)
    assert started.status_code == 201, started.text
    assert started.json()["run"] == "mine"
    deadline = time.monotonic() + 60
    while (told := writing.get("/api/jobs").json()[0])["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.2)
    assert told["state"] == "failed"
    assert told["last_words"].startswith("nunatak abinit: ")
    assert "mine" in [run["id"] for run in writing.get("/api/runs").json()]
    again = writing.post("/api/jobs", json=wanted, headers=BEARER)
    assert again.status_code == 400


def test_a_stopped_run_is_resumed_and_stopped_again(
    writing: TestClient, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command itself goes on with a run that fell silent; it cannot be started twice."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = _runs.running_run(runs / "halted", particles=40)
    assert not writing.get("/api/runs/halted/progress").json()["resumable"], "it wrote something just now"
    refused = writing.post("/api/runs/halted/resume", headers=BEARER)
    assert refused.status_code == 400
    assert "going on" in refused.json()["detail"]
    _runs.fall_silent(run)
    assert writing.get("/api/runs/halted/progress").json()["resumable"]
    assert writing.post("/api/runs/halted/resume").status_code == 401
    started = writing.post("/api/runs/halted/resume", headers=BEARER)
    assert started.status_code == 201, started.text
    assert (started.json()["name"], started.json()["run"]) == ("halted", "halted")
    assert started.json()["state"] == "running"
    again = writing.post("/api/runs/halted/resume", headers=BEARER)
    assert again.status_code == 400
    writing.post("/api/jobs/halted/stop", headers=BEARER)
    told = wait_for_end(writing, "halted")
    assert told["state"] == "stopped"
    assert told["resumable"]
    # It wrote something just now, but its process is known to have ended.
    assert writing.get("/api/runs/halted/progress").json()["phase"] == "silent"
    assert not (run / "summary.json").exists()


@pytest.mark.truth
def test_a_resumed_run_ends_as_if_it_had_not_stopped(writing: TestClient, runs: Path) -> None:
    run = _runs.running_run(runs / "revived", particles=200)
    _runs.fall_silent(run)
    assert writing.post("/api/runs/revived/resume", headers=BEARER).status_code == 201
    assert wait_for_end(writing, "revived", 600)["state"] == "done"
    assert writing.get("/api/runs/revived/progress").json()["phase"] == "finished"
    refused = writing.post("/api/runs/revived/resume", headers=BEARER)
    assert refused.status_code == 400
    assert "ended" in refused.json()["detail"]


def test_what_cannot_be_resumed(writing: TestClient, runs: Path, tmp_path: Path) -> None:
    assert writing.post("/api/runs/nosuch/resume", headers=BEARER).status_code == 404
    finished = writing.post("/api/runs/first/resume", headers=BEARER)
    assert finished.status_code == 400
    assert "ended" in finished.json()["detail"]
    bare = runs / "bare"
    bare.mkdir()
    (bare / "particles.star").write_text("")
    assert "config.toml" in writing.post("/api/runs/bare/resume", headers=BEARER).json()["detail"]
    run = _runs.running_run(runs / "linked", particles=20)
    _runs.fall_silent(run)
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (run / "job.log").symlink_to(precious)
    refused = writing.post("/api/runs/linked/resume", headers=BEARER)
    assert refused.status_code == 400
    assert precious.read_text() == "mine"


def wait_for_end(writing: TestClient, name: str, limit_s: float = 120) -> dict:
    """The job once its process has ended."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        told = next(one for one in writing.get("/api/jobs").json() if one["name"] == name)
        if told["state"] != "running":
            return told
        time.sleep(0.2)
    raise AssertionError(f"{name} goes on after {limit_s} s")


@pytest.mark.parametrize(
    "job",
    [
        {"input": {"particles": "/nowhere/particles.star"}},
        {"input": {"particles": sys.executable}, "engine": {"latent_dim": 99}},
        {"input": {"particles": sys.executable}, "engine": {"nosuch": 1}},
        {"input": {}},
        {"command": "select", "input": {"particles": sys.executable}},
    ],
)
def test_senseless_jobs_are_refused(writing: TestClient, runs: Path, job: dict) -> None:
    answer = writing.post("/api/jobs", json={"name": "odd", "job": job}, headers=BEARER)
    assert answer.status_code in (400, 422)
    assert answer.json()["detail"].endswith(".")
    assert not (runs / "odd").exists()


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    from nunatak.dashboard.run_library import RunLibrary
    from nunatak.dashboard.settings import Settings

    one = _runs.finished_run(tmp_path / "a" / "run", particles=20)
    other = _runs.finished_run(tmp_path / "b" / "run", particles=20)
    assert RunLibrary(Settings((one, other), tmp_path)).runs() == {"run": one, "run-2": other}

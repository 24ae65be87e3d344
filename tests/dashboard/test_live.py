"""A run that goes on: progress, current map and particles from its history and checkpoint."""

from __future__ import annotations

import json
import time
from pathlib import Path

import _runs
import pytest
from fastapi.testclient import TestClient

from nunatak.dashboard.app import create_app
from nunatak.dashboard.settings import Settings
from nunatak.runs.progress import read_progress


@pytest.fixture
def live(tmp_path: Path) -> Path:
    return _runs.running_run(tmp_path / "live", particles=40)


def test_progress_counts_stages_and_time(live: Path) -> None:
    told = read_progress(live)
    assert told.phase == "running"
    assert told.stage == "poses and latents"
    assert (told.passes, told.pass_limit) == (3, 5)
    assert told.elapsed_s == 40.0
    assert 0.3 < told.fraction < 0.9
    left_s = 40.0 * (1 - told.fraction) / told.fraction
    assert told.left_s == pytest.approx(left_s - told.silent_s, abs=0.01)


def test_silence_is_told(live: Path) -> None:
    assert read_progress(live, time.time() + 100).phase == "running"
    told = read_progress(live, time.time() + 3600)
    assert told.phase == "silent"
    assert told.silent_s == pytest.approx(3600, abs=30)


def test_broken_lines_and_numbers_do_not_stop_it(live: Path) -> None:
    with (live / "history.jsonl").open("a") as file:
        file.write('{"time_s": 50.0, "pose_change_deg": Infinity}\n{"time_s": 6')
    told = read_progress(live)
    assert len(told.history) == 5
    assert told.history[-1]["pose_change_deg"] is None


@pytest.mark.parametrize("content", ["", "{}", '{"state": 3}', '{"state": {"fields": {}}, "elapsed_s": "x"}'])
def test_a_damaged_checkpoint_is_no_checkpoint(live: Path, content: str) -> None:
    (live / "checkpoint" / "current.json").write_text(content)
    assert read_progress(live).fraction == 0.0


def test_a_checkpoint_cannot_point_elsewhere(live: Path) -> None:
    index = live / "checkpoint" / "current.json"
    content = json.loads(index.read_text())
    secret = live.parent / "secret.safetensors"
    (live / "checkpoint" / content["tensors"]).rename(secret)
    index.write_text(json.dumps({**content, "tensors": str(secret)}))
    with TestClient(create_app(Settings((live,), live.parent)), base_url="http://127.0.0.1:8642") as client:
        answer = client.get("/api/runs/live/map")
    assert answer.status_code == 400


def test_the_page_follows(live: Path) -> None:
    with TestClient(create_app(Settings((live,), live.parent)), base_url="http://127.0.0.1:8642") as client:
        before = client.get("/api/runs/live/progress").json()
        first_map = client.get("/api/runs/live/map").content
        assert before["fsc"]["fsc"][0] > before["fsc"]["fsc"][-1]
        _runs.go_on(live)
        after = client.get("/api/runs/live/progress").json()
        assert len(after["history"]) == len(before["history"]) + 1
        assert after["map_stamp"] != before["map_stamp"]
        assert client.get("/api/runs/live/map").content != first_map
        columns = client.get("/api/runs/live/columns").json()
        assert columns["count"] == 40
        assert columns["latent_dim"] == 4


def test_before_the_first_pass(tmp_path: Path) -> None:
    run = tmp_path / "begun"
    run.mkdir()
    (run / "config.toml").write_text((_runs.running_run(tmp_path / "other", 20) / "config.toml").read_text())
    with TestClient(create_app(Settings((run,), tmp_path)), base_url="http://127.0.0.1:8642") as client:
        told = client.get("/api/runs/begun/progress").json()
        assert told["phase"] == "running"
        assert told["stage"] == "random starts"
        for path in ("map", "columns", "views"):
            answer = client.get(f"/api/runs/begun/{path}")
            assert answer.status_code == 404
            assert answer.json()["detail"].endswith(".")

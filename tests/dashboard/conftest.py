"""Run folders that the dashboard's tests share, and a client that calls it as a browser would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import _runs
import pytest
from fastapi.testclient import TestClient

from nunatak.dashboard.app import create_app
from nunatak.dashboard.settings import Settings

TOKEN = "the-token-of-these-tests"
ADDRESS = "http://127.0.0.1:8642"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished runs on the same particles and one that goes on."""
    folder = tmp_path_factory.mktemp("dashboard") / "runs"
    first = _runs.finished_run(folder / "first")
    _runs.turned_run(folder / "second", first)
    _runs.running_run(folder / "live")
    return folder


@pytest.fixture
def reading(runs: Path) -> Iterator[TestClient]:
    """A dashboard that only reads."""
    with TestClient(create_app(Settings((runs,), runs)), base_url=ADDRESS) as client:
        yield client


@pytest.fixture
def writing(runs: Path) -> Iterator[TestClient]:
    """A dashboard that writes for those who have the token."""
    with TestClient(create_app(Settings((runs,), runs, TOKEN)), base_url=ADDRESS) as client:
        yield client

"""A small simulated set and a short run on it, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from _commands import TINY, succeed, write_cs


@pytest.fixture
def with_report(small_pictures: None) -> None:
    """Asked for by tests whose runs are to write their page."""


@pytest.fixture(autouse=True)
def _report_only_where_asked_for(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page takes as long as such a run; the runs that all tests share have theirs."""
    if "with_report" not in request.fixturenames:
        monkeypatch.setattr("nunatak.export.report.write_report", lambda folder: folder / "report.html")


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 240 particles of a swinging molecule."""
    folder = tmp_path_factory.mktemp("simulated") / "set"
    succeed(
        *f"simulate {folder} --particles 240 --box-px 32 --snr 1 --motion hinge --states 4 --seed 1".split(),
        "--threads",
        1,
    )
    return folder


@pytest.fixture(scope="session")
def heterogeneous_run(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an ab initio run with one latent dimension."""
    folder = tmp_path_factory.mktemp("runs") / "heterogeneous"
    succeed("abinit", simulated / "particles.star", "-o", folder, "--latent-dim", 1, *TINY)
    return folder


@pytest.fixture(scope="session")
def cryosparc_run(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same particles as cryoSPARC lists them, and the folder of a run on them."""
    source = write_cs(tmp_path_factory.mktemp("cryosparc") / "particles.cs", simulated)
    run = source.with_name("run")
    succeed("abinit", source, "-o", run, "--latent-dim", 1, *TINY)
    return source, run


@pytest.fixture(scope="session")
def homogeneous_run(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a homogeneous ab initio run."""
    folder = tmp_path_factory.mktemp("runs") / "homogeneous"
    succeed("abinit", simulated / "particles.star", "-o", folder, "--latent-dim", 0, *TINY)
    return folder

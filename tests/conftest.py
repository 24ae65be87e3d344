"""What holds for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Beside other processes torch is several times slower with two threads than with one.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def _no_power_cut() -> Iterator[None]:
    """Runs of the tests wait for no disk: a kill loses nothing that was written, only a power cut would.

    A run of two seconds waits eighty times. That what must be on the disk is sent there, and when, is seen in
    tests/io/test_flushing.py; processes of their own do wait.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda handle: None)
        yield


@pytest.fixture
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture of a map that a report has is drawn, 40 pixels wide: what counts is what is around them.

    At full size they are drawn in tests/export and for the runs that the tests of the command line share.
    """

    from nunatak.export import surface, views

    def render(what: surface.Surface, view: object, size_px: int, *colour: object) -> object:
        return surface.render_surface(what, view, min(size_px, 40), *colour)

    monkeypatch.setattr(views, "render_surface", render)

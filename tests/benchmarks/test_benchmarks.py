"""Benchmarks run: each says what it takes, and those that need nothing beside do their work on a tiny set.

Figures are not judged here, but that a search finds the exhaustive optimum is.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.write import write_simulation

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted([*BENCHMARKS.glob("*.py"), *BENCHMARKS.glob("peers/cryodrgn_*.py")])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 particles of 32 px, with their truth."""
    folder = tmp_path_factory.mktemp("benchmarks") / "set"
    write_simulation(folder, SimulationConfig(particles=80, box_px=32, snr=1.0))
    return folder


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    """A function that runs a script of benchmarks/ in this process and returns what it printed."""

    def call(script: Path, *words: object) -> str:
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, words)])
        monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
        runpy.run_path(str(script), run_name="__main__")
        return capsys.readouterr().out

    threads = torch.get_num_threads()
    yield call
    torch.set_num_threads(threads)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_it_says_what_it_takes(script: Path, called, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        called(script, "--help")
    assert end.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_every_benchmark_is_in_the_table() -> None:
    table = (BENCHMARKS / "README.md").read_text()
    assert [script.name for script in SCRIPTS if script.name not in table] == []


def test_cheaper_searches_are_set_against_the_exhaustive_one(tiny: Path, called) -> None:
    words = ["--images", 3, "--map-images", 70, "--order", 3, "--radius-px", 12, "--l-start", 8]
    words += ["--kept", 16, "--shift-extent-px", 1, "--shift-step-px", 0.5, "--threads", 1]
    particles, truth = tiny / "particles.star", tiny / "truth.star"
    found = json.loads(called(BENCHMARKS / "search_optimum.py", particles, "--truth", truth, *words))
    assert found["branch_and_bound"]["found"] == 1.0
    assert found["hierarchical"]["within_a_step"] > 0.6
    for name in ("branch_and_bound", "hierarchical"):
        assert 0 < found[name]["evaluations_of_exhaustive"] < 0.2


def test_the_bound_of_true_maps(tiny: Path, called) -> None:
    found = json.loads(
        called(BENCHMARKS / "oracle.py", tiny, "--images", 20, "--device", "cpu", "--threads", 1)
    )
    assert found["rot_known_state_median_deg"] < 3
    assert found["state"] > 0.5


def test_steps_are_timed(called) -> None:
    words = ["--device", "cpu", "--images", 20, "--box-px", 32, "--search-batch", 4]
    found = json.loads(called(BENCHMARKS / "device_steps.py", *words))
    assert all(spent > 0 for spent in found["ms_per_image"].values())
    assert len(found["ms_per_image"]) == 3


def test_success_is_counted_by_set(tiny: Path, tmp_path: Path, called) -> None:
    table = tmp_path / "success.csv"
    printed = called(
        BENCHMARKS / "success.py", tiny, "--seeds", 0, 1, "--device", "cpu", "--threads", 1, "-o", table
    )
    assert printed.strip().splitlines()[-1] in [f"{tiny.name}: {found} of 2" for found in (0, 1, 2)]
    assert len(table.read_text().splitlines()) == 3


def test_passes_are_timed_at_several_numbers(tiny: Path, called) -> None:
    words = ["--numbers", 80, 160, "--latent-dim", 1, "--threads", 1]
    found = json.loads(called(BENCHMARKS / "cost_by_number.py", tiny / "truth.star", *words))
    assert [row["images"] for row in found["rows"]] == [80, 160]
    assert all(row[name] > 0 for row in found["rows"] for name in row)


def test_a_bank_finds_what_the_exact_search_finds(tiny: Path, called) -> None:
    words = ["--images", 6, "--train-images", 80, "--epochs", 1, "--latent-dim", 1, "--decoder", "grid"]
    found = json.loads(called(BENCHMARKS / "exact_search.py", tiny, *words, "--l-end", 13, "--threads", 1))
    assert found["bank"]["rot_median_deg"] < 10
    assert found["bank"]["images_per_s"] > found["exact"]["images_per_s"] > 0

"""Recipes from the command line: chosen by name, refused where they do not fit, compared, and used again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from _commands import TINY, call, read_tables, succeed

from nunatak.metrics.comparison import rows_from_csv
from nunatak.reconstruct.recipes import RECIPES
from nunatak.runs.compare import Comparison, words_of

SEARCH = [
    *("--l-start=5", "--l-end=8", "--search-passes=1", "--variability-passes=4"),
    *("--base-healpy=1", "--t-n-grid=2", "--n-iter=1"),
]


def test_recipes_are_listed_with_the_source_of_their_poses() -> None:
    listed = json.loads(succeed("recipes", "--json").out)["recipes"]
    poses = {recipe["name"]: recipe["poses"] for recipe in listed}
    assert poses["exhaustive"] == poses["branch-and-bound"] == poses["multiclass"] == "found"
    assert poses["3dva"] == poses["fixed-poses"] == "given"
    lines = succeed("recipes").out.strip().splitlines()
    assert len(lines) == len(listed)
    assert all(recipe["summary"] in line for recipe, line in zip(listed, lines, strict=True))


def test_the_grid_is_the_lectures_table() -> None:
    rows = json.loads(succeed("grid", "--json").out)["rows"]
    assert [row["rotations"] for row in rows] == [4608, 36864, 294912, 2359296, 18874368]
    assert [round(row["step_deg"], 2) for row in rows] == [15, 7.5, 3.75, 1.88, 0.94]
    assert rows[0]["candidates"] == 903168
    assert "903,168" in succeed("grid").out


REFUSED = [
    ("abinit", "--recipe 3dva", "'3dva' needs poses: use `nunatak heterogeneity`"),
    ("heterogeneity", "--recipe exhaustive", "'exhaustive' finds poses itself and takes none"),
    ("abinit", "--recipe hierarchical", "--l-end 32 is beyond Nyquist"),
    ("abinit", "--recipe exhaustive --l-end 17", "--l-end 17 is beyond Nyquist"),
    ("abinit", "--recipe hierarchical --l-end 8", "--l-start 12 lies beyond --l-end 8"),
    ("abinit", "--recipe multiclass --classes 241", "--classes 241 is more than the 240 particles"),
    ("heterogeneity", "--recipe 3dva --latent-dim 0", "give --latent-dim 1 or more"),
    ("reconstruct", "--recipe nosuch", "no recipe 'nosuch'"),
    ("abinit", "--search-step-deg 0", "--search-step-deg"),
    ("abinit", "--frequency-schedule cubic", "--frequency-schedule"),
]


@pytest.mark.parametrize(("command", "words", "said"), REFUSED, ids=[f"{c} {w}" for c, w, _ in REFUSED])
def test_what_does_not_fit_is_one_sentence(
    command: str, words: str, said: str, simulated: Path, tmp_path: Path
) -> None:
    star = simulated / ("particles.star" if command == "abinit" else "truth.star")
    done = call(command, star, "-o", tmp_path / "run", *words.split())
    assert done.is_refused(), (done.status, done.err)
    assert said in done.err
    assert not (tmp_path / "run").exists()


def test_poses_that_are_not_there_are_asked_for(simulated: Path, tmp_path: Path) -> None:
    done = call("heterogeneity", simulated / "particles.star", "-o", tmp_path / "run", "--recipe", "3dva")
    assert done.is_refused()
    assert "has no poses" in done.err


def test_a_mixtures_classes_are_written(simulated: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ("--recipe", "multiclass", "--classes", 3, "--class-passes", 2, *TINY)
    succeed("abinit", simulated / "particles.star", "-o", run, *words)
    _, rows = read_tables(run / "particles.star")
    assert set(rows["rlnClassNumber"]) <= {1, 2, 3}
    assert np.load(run / "latents.npy").shape == (240, 2)
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["recipe"], summary["latent_dim"]) == ("multiclass", 2)
    succeed("volumes", run, "-o", tmp_path / "maps", "--at-particles", "0,5")


@pytest.fixture(scope="module")
def compared(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recipes beside each other, with a row of another program."""
    folder = tmp_path_factory.mktemp("compared")
    (folder / "others.csv").write_text("recipe,rot_median_deg,wall_s\nsomebody,9.5,1000\n")
    words = ["compare", simulated / "particles.star", "--truth", simulated, "-o", folder / "out"]
    words += ["--recipes", "hierarchical,3dva", "--latent-dim", 1, "--volumes", 3, "--threads", 1]
    words += ["--originals", folder / "others.csv", f"--options={' '.join([*TINY, *SEARCH])}"]
    told = json.loads(succeed(*words, "--json").out)
    assert [row["recipe"] for row in told["rows"]] == ["hierarchical", "3dva", "somebody"]
    return folder / "out"


def test_compare_writes_one_table(compared: Path) -> None:
    rows = {row.name: row for row in rows_from_csv((compared / "compare.csv").read_text(), "compare.csv")}
    assert list(rows) == ["hierarchical", "3dva", "somebody"]
    assert rows["somebody"].figures == {"rot_median_deg": 9.5, "wall_s": 1000.0}
    given = rows["3dva"].figures
    assert given["rot_median_deg"] < 0.1
    assert given["per_image_fsc_auc"] > 0.2
    assert given["wall_s"] > 0
    assert given["peak_memory_MB"] > 50
    text = (compared / "compare.md").read_text()
    assert text.count("| 3dva |") == 1
    assert "<svg" in (compared / "compare.svg").read_text()
    assert (compared / "3dva" / "summary.json").exists()


def test_a_comparison_that_was_stopped_goes_on(compared: Path, simulated: Path, tmp_path: Path) -> None:
    """The first recipe is done; the second's run was stopped before its row was written."""
    folder = tmp_path / "out"
    shutil.copytree(compared, folder)
    lines = (compared / "compare.csv").read_text().splitlines(keepends=True)
    (folder / "compare.csv").write_text("".join(lines[:2]))
    finished = (folder / "hierarchical" / "summary.json").stat().st_mtime_ns
    words = ["compare", simulated / "particles.star", "--truth", simulated, "-o", folder, "--volumes", 3]
    words += ["--latent-dim", 1, f"--options={' '.join([*TINY, *SEARCH])}"]
    done = succeed(*words, "--recipes", "hierarchical,3dva", "--threads", 1)
    assert "running 3dva" in done.err
    assert "running hierarchical" not in done.err
    assert (folder / "hierarchical" / "summary.json").stat().st_mtime_ns == finished
    before, after = (
        {row.name: row.figures for row in rows_from_csv((place / "compare.csv").read_text(), "table")}
        for place in (compared, folder)
    )
    assert list(after) == ["hierarchical", "3dva"]
    assert after["3dva"]["per_image_fsc_auc"] == before["3dva"]["per_image_fsc_auc"]


def test_compare_asks_no_latents_of_recipes_that_make_one_map() -> None:
    comparison = Comparison(Path("a.star"), Path("b.star"), Path("truth"), latent_dim=3)
    words = {recipe.name: words_of(recipe, comparison, Path("out")) for recipe in RECIPES}
    asked = {name: found[found.index("--latent-dim") + 1] for name, found in words.items()}
    assert {name for name, latents in asked.items() if latents == "0"} == {"cryoai"}
    assert words["3dva"][:2] == ["heterogeneity", "b.star"]
    assert words["cryofire"][:2] == ["abinit", "a.star"]


def test_compare_refuses_what_it_cannot_compare(simulated: Path, compared: Path, tmp_path: Path) -> None:
    words = ["compare", simulated / "particles.star", "--truth", simulated, "-o", tmp_path / "out"]
    for recipes, said in (
        ("nosuch", "no recipe 'nosuch'"),
        (",", "--recipes is empty"),
        ("3dva,3dva", "twice"),
    ):
        done = call(*words, "--recipes", recipes)
        assert done.is_refused(), done
        assert said in done.err
    again = call(*words[:-1], compared, "--recipes", "nunatak")
    assert again.is_refused()
    assert "already holds a comparison" in again.err
    more = ("--recipes", "hierarchical,3dva,nunatak", "--volumes", 3, "--latent-dim", 2)
    other = call(*words[:-1], compared, *more)
    assert other.is_refused()
    assert "holds a comparison with latent_dim 1" in other.err
    broken = tmp_path / "broken"
    shutil.copytree(compared, broken)
    (broken / "compare.json").write_text("{")
    other = call(*words[:-1], broken, *more)
    assert other.is_refused()
    assert "no JSON object" in other.err
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("truth.npz", "volumes.npy"):
        (bare / name).symlink_to(simulated / name)
    done = call("compare", simulated / "particles.star", "--truth", bare, "--recipes", "3dva")
    assert done.is_refused()
    assert "--posed" in done.err


@pytest.fixture(scope="module")
def newcomers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A run at given poses, other particles of the same molecule, and these embedded with the run."""
    folder = tmp_path_factory.mktemp("embedded")
    for name, seed, count in (("old", 1, 600), ("new", 2, 120)):
        words = f"--particles {count} --box-px 32 --snr 1 --motion hinge --states 6 --hinge-degrees 45"
        succeed("simulate", folder / name, *words.split(), "--seed", seed, "--threads", 1)
    passes = ("--grow-passes", 6, "--latent-dim", 1, "--threads", 1)
    succeed("heterogeneity", folder / "old" / "truth.star", "-o", folder / "run", *passes, *TINY[-3:])
    succeed("embed", folder / "run", folder / "new" / "particles.star", "-o", folder / "out", "--threads", 1)
    return folder / "run", folder / "new", folder / "out"


def test_new_particles_are_oriented_and_embedded(newcomers: tuple[Path, Path, Path]) -> None:
    _, new, out = newcomers
    figures = json.loads(succeed("evaluate", out, "--truth", new, "--json").out)
    assert figures["rot_median_deg"] < 6
    assert figures["latent_knn"] > 0.5
    assert np.load(out / "latents.npy").shape == (120, 1)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["particles"] == 120
    assert summary["median_confidence"] > 0.5
    succeed("volumes", out, "-o", out.parent / "maps", "--at-particles", "0,7")


def test_embedding_refuses_other_fields_of_view(newcomers: tuple[Path, Path, Path], tmp_path: Path) -> None:
    run, new, out = newcomers
    other = call("embed", run, new / "particles.star", "-o", tmp_path / "x", "--pixel-size-A", 20)
    assert other.is_refused()
    assert "A wide" in other.err
    again = call("embed", run, new / "particles.star", "-o", out)
    assert again.is_refused()
    assert "already holds particles" in again.err
    nothing = call("embed", new, new / "particles.star", "-o", tmp_path / "x")
    assert nothing.is_refused()

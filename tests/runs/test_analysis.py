"""An analysis as a whole: its files, figures, sections of the report, labels and blocks, what is refused."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_run import BOX, PIXEL_A, component_maps, write_run

from nunatak.core.errors import InputError
from nunatak.export.report import write_report
from nunatak.io.mrc import read_map, write_map
from nunatak.io.star import read_star_tables
from nunatak.runs.analysis_config import AnalysisConfig
from nunatak.runs.analyze import analyze_run, read_analysis
from nunatak.runs.labels import read_labels

COUNT = 1200
QUICK = AnalysisConfig(umap=False, map_samples=8, bootstraps=2, steps=3, kmeans=4)


def two_wells(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Posteriors of a motion between two wells in the first of three dimensions; and each particle's well."""
    generator = np.random.default_rng(seed)
    well = np.arange(COUNT) % 2
    truth = generator.normal(size=(COUNT, 3)) * [0.35, 1, 1] + np.outer(2 * well - 1, [0.93, 0, 0])
    noise = np.array([0.2, 3.0, 3.0])
    measured = truth + noise * generator.normal(size=(COUNT, 3))
    variance = 1 / (1 + 1 / noise**2)
    covariances = np.broadcast_to(np.diag(variance), (COUNT, 3, 3))
    return measured * variance / noise**2, np.array(covariances), well


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    means, covariances, well = two_wells()
    write_run(folder, means, covariances)
    names = np.array(["apo", "holo"])[well]
    pd.DataFrame({"well": names, "x": means[:, 0]}).to_csv(folder.parent / "labels.csv", index=False)
    maps = component_maps(3)
    write_map(folder.parent / "lump.mrc", (maps[1] > 0.2).astype(np.float32), PIXEL_A)
    config = QUICK.model_copy(
        update={"labels": (f"{folder.parent}/labels.csv:well",), "blocks": (folder.parent / "lump.mrc",)}
    )
    analyze_run(folder, config, lambda sentence: None)
    return folder


def test_every_file_is_listed_and_there(analysed: Path) -> None:
    told = read_analysis(analysed)
    out = analysed / "analysis"
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert found == {*told["files"], "analysis.json"}
    page = (Path(__file__).parents[2] / "docs" / "analysis.md").read_text()
    for name in told["files"]:
        general = re.sub(r"_(dominant|component|straight|graph|energy)\b", "_NAME", Path(name).stem)
        general = re.sub(
            r"_\d+$", "", re.sub(r"^(dominant|component|straight|graph|energy)_", "NAME_", general)
        )
        assert general in page, f"{name} is not in docs/analysis.md"


def test_figures(analysed: Path) -> None:
    told = read_analysis(analysed)
    assert told["components"]["informed"] == 1
    assert told["mixture"]["clusters"] == 2
    assert told["recommended_path"] == "dominant"
    well = next(one for one in told["associations"] if one["name"] == "well")
    assert well["knn"] > 0.97
    assert well["chance"] == pytest.approx(0.5)
    profile = pd.read_csv(analysed / "analysis" / f"profile_{told['recommended_path']}.csv")
    energy = profile["free_energy_kT"].to_numpy()
    assert (profile["error_kT"] >= 0).all()
    assert energy.min() == pytest.approx(0)
    chosen = next(path for path in told["paths"] if path["name"] == told["recommended_path"])
    assert chosen["barrier_kT"] > 1.5
    table = pd.read_csv(analysed / "analysis" / "map_landscape.csv")
    assert table["share"].sum() == pytest.approx(1, abs=1e-4)
    moving = np.load(analysed / "latents.npy")[table["particle"], 0]
    assert np.corrcoef(moving, table["occupancy_lump"])[0, 1] > 0.9
    density, size_A, _ = read_map(analysed / "analysis/maps/kmeans_00.mrc")
    assert (density.shape, size_A) == ((BOX,) * 3, pytest.approx(PIXEL_A))


def test_labels_and_coordinates_are_of_each_particle(analysed: Path) -> None:
    out = analysed / "analysis"
    labels, positions = np.load(out / "kmeans_labels.npy"), np.load(out / "components.npy")
    assert labels.shape == (COUNT,)
    assert positions.shape == (COUNT, 3)
    rows = list(csv.DictReader((out / "clusters.csv").read_text().splitlines()))
    for row in rows:
        if row["kind"] == "kmeans":
            assert labels[int(row["representative"])] == int(row["cluster"])
            assert (labels == int(row["cluster"])).sum() == int(row["particles"])


@pytest.mark.usefixtures("small_pictures")
def test_the_report_shows_it(analysed: Path) -> None:
    html = write_report(analysed).read_text(encoding="utf-8")
    for title in ("Landscape", "Clusters", "Composition", "Other columns"):
        assert f"<h2>{title}</h2>" in html
    assert not re.search(r"<script|<link|https?://(?!www\.w3\.org)", html)
    assert "States along the path" in html


@pytest.mark.usefixtures("small_pictures")
@pytest.mark.parametrize("name", ["analysis.json", "path_graph.csv", "map_landscape.csv", "components.npy"])
def test_a_damaged_analysis_becomes_a_sentence_of_the_report(
    name: str, analysed: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(analysed, tmp_path / "run")
    (run / "analysis" / name).write_bytes(b"\x00 nonsense =")
    html = write_report(run).read_text(encoding="utf-8")
    assert "could not be read and is left out of this report" in html


@pytest.mark.usefixtures("small_pictures")
def test_texts_of_an_analysis_cannot_become_markup(analysed: Path, tmp_path: Path) -> None:
    run = shutil.copytree(analysed, tmp_path / "run")
    told = read_analysis(run)
    bad = "<script>alert(1)</script>"
    told["warnings"], told["notes"] = [bad], [bad]
    told["associations"][0]["name"] = bad
    (run / "analysis/analysis.json").write_text(json.dumps(told))
    assert "<script" not in write_report(run).read_text(encoding="utf-8")


def test_the_same_seed_gives_the_same_numbers(analysed: Path, tmp_path: Path) -> None:
    means, covariances, _ = two_wells()
    write_run(tmp_path / "run", means, covariances)
    analyze_run(tmp_path / "run", QUICK, lambda sentence: None)
    for name in ("profile_graph.csv", "path_energy.csv", "kmeans_labels.npy"):
        assert (tmp_path / "run/analysis" / name).read_bytes() == (analysed / "analysis" / name).read_bytes()


def test_latents_without_covariances(tmp_path: Path) -> None:
    means, _, _ = two_wells()
    run = write_run(tmp_path / "run", means[::4], None)
    told = analyze_run(run, QUICK, lambda sentence: None)
    assert told["components"]["in_noise_units"] is False
    assert any("not deconvolved" in note for note in told["notes"])


def test_latents_that_follow_the_imaging_are_warned_of(tmp_path: Path) -> None:
    means, covariances, _ = two_wells()
    run = write_run(tmp_path / "run", means, covariances)
    text = (run / "particles.star").read_text()
    rows = pd.Series(np.round(10000 + 3000 * means[:, 0], 1)).astype(str)
    lines, number = text.splitlines(), 0
    names = [line.split()[0] for line in lines if line.startswith("_rln") or line.startswith("_nunatak")]
    place = names[names.index("_rlnImageName") :].index("_rlnDefocusU")
    for k, line in enumerate(lines):
        if "@nowhere.mrcs" in line:
            words = line.split()
            words[place] = rows[number]
            lines[k], number = " ".join(words), number + 1
    (run / "particles.star").write_text("\n".join(lines) + "\n")
    told = analyze_run(run, QUICK, lambda sentence: None)
    assert any("defocus" in warning for warning in told["warnings"])


def test_what_is_refused(analysed: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.npy"
    np.save(short, np.zeros(3))
    objects = tmp_path / "objects.npy"
    np.save(objects, np.array([None], object), allow_pickle=True)
    (tmp_path / "empty.pdb").write_text("END\n")
    write_map(tmp_path / "small.mrc", np.ones((4, 4, 4)), PIXEL_A)
    before = (analysed / "analysis" / "analysis.json").read_bytes()
    for changed in (
        {"labels": (f"{analysed.parent}/labels.csv:nosuch",)},
        {"labels": (str(short),)},
        {"labels": (str(objects),)},
        {"labels": ("/nonexistent.csv",)},
        {"labels": (str(analysed / "config.docx"),)},
        {"blocks": (tmp_path / "empty.pdb",)},
        {"blocks": (tmp_path / "small.mrc",)},
        {"blocks": (tmp_path / "none.mrc",)},
    ):
        with pytest.raises(InputError) as refused:
            analyze_run(analysed, QUICK.model_copy(update=changed), lambda sentence: None)
        assert "\n" not in str(refused.value)
    assert (analysed / "analysis" / "analysis.json").read_bytes() == before


def test_labels_of_every_kind(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6).reshape(3, 2))
    assert list(read_labels(str(tmp_path / "a.npy"), 3)) == ["a_0", "a_1"]
    fields = np.zeros(3, [("uid", "<u8"), ("class", "<u4"), ("pose", "<f4", (3,)), ("name", "S4")])
    fields["name"] = b"abc"
    with (tmp_path / "a.cs").open("wb") as handle:
        np.save(handle, fields)
    found = read_labels(str(tmp_path / "a.cs"), 3)
    assert list(found) == ["class", "name"]
    assert found["name"].tolist() == ["abc"] * 3
    (tmp_path / "a:b.csv").write_text("x,y\n1,2\n3,4\n")
    assert read_labels(f"{tmp_path}/a:b.csv:y", 2)["y"].tolist() == [2, 4]


@pytest.mark.parametrize(("size", "warned"), [(0.05, False), (3.0, True)], ids=["below errors", "beyond"])
def test_traces_of_imaging_count_beyond_the_errors_only(tmp_path: Path, size: float, warned: bool) -> None:
    """Means that lie in two tight groups follow the defocus, by a twentieth of an error or by three."""
    run = tmp_path / "run"
    groups = np.where(np.arange(COUNT) % 2, 1.0, -1.0)
    variance = 0.01
    write_run(run, np.zeros((COUNT, 2)), None)
    defocus = read_star_tables(run / "particles.star").rows["rlnDefocusU"].to_numpy()
    trace = size * np.sqrt(variance) * (defocus - defocus.mean()) / defocus.std()
    means = np.stack([groups, trace], 1)
    write_run(run, means, np.broadcast_to(variance * np.eye(2), (COUNT, 2, 2)))
    told = analyze_run(run, QUICK, lambda sentence: None)
    assert any("predict the defocus" in warning for warning in told["warnings"]) is warned

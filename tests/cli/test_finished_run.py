"""What is done with a run that has ended: maps, subsets, figures, the report; and runs with given poses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from _commands import TINY, call, particle_lines, read_images, read_tables, succeed
from safetensors import safe_open

from nunatak.volumes.maps import change_box

PARTICLES, BOX = 240, 32
LANDSCAPE = ("nodes", "metric", "combination", "offset", "maps")
QUICK = ("--no-umap", "--map-samples", 4, "--bootstraps", 2)


def names(folder: Path, pattern: str = "*.mrc") -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def parts_of(run: Path) -> tuple[np.ndarray, np.ndarray]:
    from nunatak.runs.volumes import LatentVolumes

    volumes = LatentVolumes(run)
    return volumes.maps, volumes.latents


def curved_map(run: Path, latent: np.ndarray) -> np.ndarray:
    """V(z) by its formula (theory eq. 18) from what the run stored, in numpy."""
    with safe_open(run / "model.safetensors", framework="numpy") as stored:
        part = {name: stored.get_tensor(f"landscape.{name}") for name in LANDSCAPE}
        width = float(stored.metadata()["landscape_width"])
    apart = ((latent - part["nodes"]) @ part["metric"] / width) ** 2
    soft = np.exp(-0.5 * (apart.sum(1) - apart.sum(1).min()))
    values = soft / soft.sum() @ part["combination"] - part["offset"]
    small = part["maps"][0] + np.tensordot(values, part["maps"][1:], 1)
    return change_box(torch.from_numpy(small.astype(np.float32)), BOX).numpy()


def test_volumes_at_particles(heterogeneous_run: Path, tmp_path: Path) -> None:
    succeed("volumes", heterogeneous_run, "-o", tmp_path / "maps", "--at-particles", "0,57,99")
    assert names(tmp_path / "maps") == ["vol_000000.mrc", "vol_000057.mrc", "vol_000099.mrc"]
    maps, latents = parts_of(heterogeneous_run)
    for row in (0, 57, 99):
        expected = curved_map(heterogeneous_run, latents[row])
        found = read_images(tmp_path / "maps" / f"vol_{row:06d}.mrc")
        assert np.allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    mean = read_images(heterogeneous_run / "mean.mrc")
    assert np.allclose(maps[0], mean, atol=1e-6 * np.abs(mean).max())


def test_volumes_at_latents(heterogeneous_run: Path, tmp_path: Path) -> None:
    positions = np.array([[-1.0], [0.0], [2.0]])
    np.save(tmp_path / "positions.npy", positions)
    words = ["volumes", heterogeneous_run, "-o", tmp_path / "maps", "--at-latents"]
    succeed(*words, tmp_path / "positions.npy")
    assert names(tmp_path / "maps") == [f"vol_{i:06d}.mrc" for i in range(3)]
    low, zero, high = (read_images(tmp_path / "maps" / name) for name in names(tmp_path / "maps"))
    for found, position in zip((low, zero, high), positions, strict=True):
        expected = curved_map(heterogeneous_run, position)
        assert np.allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(high - low).max() > 0.01 * np.abs(zero).max()
    for wrong in (np.zeros((2, 3)), np.zeros(2), np.array([["a"]]), np.array([[None]], object)):
        np.save(tmp_path / "wrong.npy", wrong, allow_pickle=True)
        assert call(*words, tmp_path / "wrong.npy").is_refused(), wrong
    (tmp_path / "text.npy").write_text("0.1 0.2")
    assert call(*words, tmp_path / "text.npy").is_refused()
    assert call(*words, tmp_path / "nothing.npy").is_refused()


def test_half_maps_come_with_the_resolution_that_they_agree_to(
    heterogeneous_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "maps"
    succeed("volumes", heterogeneous_run, "-o", out, "--at-particles", "0,57", "--halves")
    assert len(names(out)) == 6
    lines = (out / "resolutions.csv").read_text().splitlines()
    assert lines[0] == "map,resolution_A"
    assert [line.split(",")[0] for line in lines[1:]] == ["vol_000000.mrc", "vol_000057.mrc"]
    first, second = (read_images(out / f"vol_000057_half{half}.mrc") for half in (1, 2))
    assert not np.allclose(first, second)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.5


def test_volumes_at_clusters_and_along_a_path(heterogeneous_run: Path, tmp_path: Path) -> None:
    succeed("volumes", heterogeneous_run, "-o", tmp_path / "kmeans", "--kmeans", 3)
    assert names(tmp_path / "kmeans") == ["kmeans_00.mrc", "kmeans_01.mrc", "kmeans_02.mrc"]
    labels = np.load(tmp_path / "kmeans" / "kmeans_labels.npy")
    assert (labels.shape, set(labels)) == ((PARTICLES,), {0, 1, 2})
    succeed("volumes", heterogeneous_run, "-o", tmp_path / "path", "--path", 0, "--steps", 4)
    found = [read_images(tmp_path / "path" / name) for name in names(tmp_path / "path")]
    assert [volume.shape for volume in found] == [(BOX,) * 3] * 4
    maps, _ = parts_of(heterogeneous_run)
    along = [float(((volume - maps[0]) * maps[1]).sum()) for volume in found]
    assert along == sorted(along)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--kmeans 2 --path 0",
        "--at-particles 0,240",
        "--at-particles -1",
        "--at-particles a,b",
        "--at-particles ,",
        "--kmeans 0",
        "--kmeans 241",
        "--path 1",
    ],
)
def test_volumes_refuse(words: str, heterogeneous_run: Path, tmp_path: Path) -> None:
    done = call("volumes", heterogeneous_run, "-o", tmp_path / "maps", *words.split())
    assert done.is_refused(), done
    assert not (tmp_path / "maps").exists()


def test_volumes_of_a_homogeneous_run(homogeneous_run: Path, tmp_path: Path) -> None:
    succeed("volumes", homogeneous_run, "-o", tmp_path / "maps", "--at-particles", 3)
    mean = read_images(homogeneous_run / "mean.mrc")
    assert np.allclose(read_images(tmp_path / "maps" / "vol_000003.mrc"), mean)
    for way in ("--kmeans=2", "--path=0", "--at-particles=240"):
        assert call("volumes", homogeneous_run, "-o", tmp_path / "none", way).is_refused()


def test_a_folder_that_is_no_run(simulated: Path, tmp_path: Path) -> None:
    for command in (
        ["volumes", simulated, "-o", tmp_path / "maps", "--path", 0],
        ["select", tmp_path / "nothing", "-o", tmp_path / "subset.star"],
        ["analyze", tmp_path],
        ["evaluate", tmp_path, "--truth", simulated],
    ):
        assert call(*command).is_refused(), command
    assert not (tmp_path / "maps").exists()


def test_a_damaged_run(heterogeneous_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(heterogeneous_run, tmp_path / "run")
    (run / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:500])
    done = call("volumes", run, "-o", tmp_path / "maps", "--path", 0)
    assert done.is_refused()
    assert "nunatak resume" in done.err
    succeed("resume", run)
    succeed("volumes", run, "-o", tmp_path / "maps", "--path", 0)


def test_analyze_and_select(
    heterogeneous_run: Path, simulated: Path, tmp_path: Path, with_report: None
) -> None:
    run = shutil.copytree(heterogeneous_run, tmp_path / "run")
    (run / "report.html").unlink()
    assert call("select", run, "-o", tmp_path / "early.star", "--cluster", 0).is_refused()
    done = succeed("analyze", run, "--kmeans", 3, "--steps", 4, "--truth", simulated, *QUICK)
    assert len(names(run / "analysis" / "maps", "kmeans_*.mrc")) == 3
    assert len(names(run / "analysis" / "maps", "graph_*.mrc")) == 4
    assert (run / "report.html").is_file()
    assert "report.html" in done.out
    figures = json.loads((run / "summary.json").read_text())["truth"]
    told = json.loads(succeed("evaluate", run, "--truth", simulated).out)
    assert told == pytest.approx(figures, nan_ok=True)
    assert {"rot_median_deg", "shift_median_A", "mean_fsc05_A", "latent_knn", "hand"} <= set(told)
    modulo = json.loads(succeed("evaluate", run, "--truth", simulated, "--near-symmetry", 2).out)
    assert set(modulo) - set(told) == {"rot_within_state_modulo_symmetry_median_deg"}
    labels = np.load(run / "analysis" / "kmeans_labels.npy")
    subset = tmp_path / "subset.star"
    succeed("select", run, "-o", subset, "--cluster", "0,2")
    _, whole = read_tables(run / "particles.star")
    expected = whole[np.isin(labels, [0, 2])].reset_index(drop=True)
    assert read_tables(subset)[1].equals(expected)
    assert call("select", run, "-o", subset, "--cluster", "0,x").is_refused()


@pytest.mark.parametrize(
    "words", ["--above 0", "--below 0.3 --above -0.5", "--min-confidence 0.5", "--max-junk 0.2"]
)
def test_select_and_the_rest(words: str, heterogeneous_run: Path, tmp_path: Path) -> None:
    """A subset and its inverse are the whole, each in order with every column; and can be read again."""
    _, whole = read_tables(heterogeneous_run / "particles.star")
    parts = []
    for name, more in (("in", []), ("out", ["--invert"])):
        star = tmp_path / f"{name}.star"
        done = call("select", heterogeneous_run, "-o", star, *words.split(), *more)
        if done.status == 2:
            assert "No particle" in done.err
            assert not star.exists()
            continue
        assert done.status == 0, done.err
        optics, rows = read_tables(star)
        assert optics.equals(read_tables(heterogeneous_run / "particles.star")[0])
        succeed("inspect", star)
        parts.append(rows.set_index("rlnImageName", drop=False))
    together = whole.set_index("rlnImageName", drop=False)
    assert sum(map(len, parts)) == PARTICLES
    for rows in parts:
        assert rows.equals(together.loc[rows.index])
        assert list(rows.index) == [name for name in together.index if name in set(rows.index)]


def test_a_subset_is_run_again(heterogeneous_run: Path, tmp_path: Path) -> None:
    """What select writes is an input: here with the run's poses."""
    succeed("select", heterogeneous_run, "-o", tmp_path / "subset.star", "--above", 0)
    succeed("reconstruct", tmp_path / "subset.star", "-o", tmp_path / "run", "--latent-dim", 0, *TINY)


def test_select_refuses(heterogeneous_run: Path, homogeneous_run: Path, tmp_path: Path) -> None:
    for run, words in (
        (heterogeneous_run, "--component 1 --above 0"),
        (homogeneous_run, "--above 0"),
        (heterogeneous_run, "--max-junk 2"),
        (heterogeneous_run, "--above 1e9"),
    ):
        assert call("select", run, "-o", tmp_path / "subset.star", *words.split()).is_refused(), words
    assert not (tmp_path / "subset.star").exists()


def test_evaluate_refuses(heterogeneous_run: Path, tmp_path: Path) -> None:
    assert call("evaluate", heterogeneous_run, "--truth", tmp_path).is_refused()
    assert call("evaluate", heterogeneous_run).is_refused()


def test_reconstruct_with_true_poses(simulated: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    succeed("reconstruct", simulated / "truth.star", "-o", run, *TINY)
    # One map is what the command is for.
    assert json.loads((run / "summary.json").read_text())["latent_dim"] == 0
    figures = json.loads(succeed("evaluate", run, "--truth", simulated).out)
    assert figures["rot_median_deg"] < 0.01
    assert figures["shift_median_A"] < 0.01
    assert figures["mean_fsc_auc"] > 0.2
    _, given = read_tables(simulated / "truth.star")
    _, written = read_tables(run / "particles.star")
    assert list(written)[: given.shape[1]] == list(given)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["command"].startswith("nunatak")
    assert not (run / "latents.npy").exists()


def test_heterogeneity_with_true_poses(simulated: Path, tmp_path: Path) -> None:
    """Two hundred clear images are enough for one latent when the poses are known."""
    run = tmp_path / "run"
    options = [word for word in TINY if not word.startswith("--grow-passes")]
    succeed("heterogeneity", simulated / "truth.star", "-o", run, "--latent-dim", 1, *options)
    figures = json.loads(succeed("evaluate", run, "--truth", simulated).out)
    assert figures["rot_median_deg"] < 0.01
    assert figures["latent_knn"] > 0.5
    assert np.load(run / "latents.npy").shape == (PARTICLES, 1)
    again = tmp_path / "again"
    succeed("heterogeneity", "--config", run / "config.toml", "-o", again)
    assert particle_lines(again) == particle_lines(run)
    assert (again / "latents.npy").read_bytes() == (run / "latents.npy").read_bytes()

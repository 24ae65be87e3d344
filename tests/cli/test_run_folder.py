"""A run folder holds what was promised, in the input's order; its config.toml fed back repeats it."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from _commands import (
    TINY,
    call,
    particle_lines,
    read_images,
    read_tables,
    succeed,
    write_tables,
)

from nunatak.io.cryosparc import read_cryosparc
from nunatak.io.star import read_star

PARTICLES, BOX = 240, 32
FILES = [
    *("particles.star", "mean.mrc", "half1.mrc", "half2.mrc", "fsc.csv", "summary.json", "config.toml"),
    *("report.html", "checkpoint/current.json", "model.safetensors", "history.jsonl", "command.txt"),
]
POSE_COLUMNS = [
    *("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"),
    *("rlnRandomSubset", "nunatakPoseConfidence", "nunatakJunk"),
]
SUMMARY = [
    *("version", "command", "recipe", "seed", "outcome", "resolution_A", "wall_s", "peak_memory_MB"),
    *("outcome_sentence", "particles", "box_px", "pixel_size_A", "latent_dim", "warnings"),
]


def pixel_size_A(simulated: Path) -> float:
    return float(read_tables(simulated / "particles.star")[0]["rlnImagePixelSize"][0])


def voxel_A(path: Path) -> float:
    with mrcfile.open(path) as file:
        return float(file.voxel_size.x)


def test_every_file_is_there(heterogeneous_run: Path, homogeneous_run: Path) -> None:
    for run in (heterogeneous_run, homogeneous_run):
        missing = [name for name in FILES if not (run / name).is_file()]
        assert not missing
        assert (run / "latents.npy").exists() == (run == heterogeneous_run)
        assert not list(run.rglob("*.part"))
        assert not [path for path in run.rglob("*") if path.suffix in {".pkl", ".pickle", ".pt", ".pth"}]


def test_every_row_and_column_comes_back(simulated: Path, heterogeneous_run: Path) -> None:
    optics, given = read_tables(simulated / "particles.star")
    optics_written, written = read_tables(heterogeneous_run / "particles.star")
    assert len(written) == len(given) == PARTICLES
    assert list(written)[: given.shape[1]] == list(given)
    assert set(POSE_COLUMNS) == set(written) - set(given)
    for name in given:
        if name == "rlnImageName":
            numbers = [text.split("@")[0] for text in given[name]]
            assert [text.split("@")[0] for text in written[name]] == numbers
            assert {text.split("@")[1] for text in written[name]} == {str(simulated / "particles.mrcs")}
        else:
            assert (written[name] == given[name]).all(), name
    for name in optics:
        assert (optics_written[name] == optics[name]).all(), name


def test_columns_of_others_are_kept_in_their_order(simulated: Path, tmp_path: Path) -> None:
    """Also one that the run gives a new meaning: it is replaced in its place."""
    optics, rows = read_tables(simulated / "particles.star")
    rows = rows.iloc[::-2].reset_index(drop=True)
    rows["rlnImageName"] = [name.replace("@", f"@{simulated}/") for name in rows["rlnImageName"]]
    rows.insert(1, "rlnAngleRot", 0.5)
    rows.insert(3, "someLabel", [f"label{i:04d}" for i in range(len(rows))])
    rows["rlnLogLikeliContribution"] = np.linspace(0, 1, len(rows))
    star = write_tables(tmp_path / "mine.star", optics, rows)
    _, rows = read_tables(star)
    succeed("abinit", star, "-o", tmp_path / "run", "--latent-dim", 0, *TINY)
    _, written = read_tables(tmp_path / "run" / "particles.star")
    assert list(written)[: rows.shape[1]] == list(rows)
    assert list(written["someLabel"]) == list(rows["someLabel"])
    assert list(written["rlnImageName"]) == list(rows["rlnImageName"])
    assert (written["rlnLogLikeliContribution"] == rows["rlnLogLikeliContribution"]).all()
    assert not (written["rlnAngleRot"] == 0.5).all()


def test_values_lie_in_their_ranges(heterogeneous_run: Path) -> None:
    _, rows = read_tables(heterogeneous_run / "particles.star")
    assert rows["nunatakPoseConfidence"].between(0, 1).all()
    assert rows["nunatakJunk"].between(0, 1).all()
    assert rows["rlnAngleTilt"].between(0, 180).all()
    assert rows[["rlnAngleRot", "rlnAnglePsi"]].abs().le(180).all(axis=None)
    assert sorted(rows["rlnRandomSubset"].value_counts()) == [PARTICLES // 2, PARTICLES // 2]


def test_latents(heterogeneous_run: Path) -> None:
    latents = np.load(heterogeneous_run / "latents.npy", allow_pickle=False)
    covariances = np.load(heterogeneous_run / "latents_covariance.npy", allow_pickle=False)
    assert (latents.shape, latents.dtype) == ((PARTICLES, 1), np.float32)
    assert covariances.shape == (PARTICLES, 1, 1)
    assert (covariances > 0).all()


def test_maps_have_the_input_box_and_pixel_size(simulated: Path, heterogeneous_run: Path) -> None:
    for name in ("mean.mrc", "half1.mrc", "half2.mrc"):
        assert read_images(heterogeneous_run / name).shape == (BOX, BOX, BOX)
        assert voxel_A(heterogeneous_run / name) == pytest.approx(pixel_size_A(simulated), rel=1e-5)


@pytest.mark.parametrize("name", ["fsc.csv", "fsc_molecule.csv"])
def test_fsc_table(simulated: Path, heterogeneous_run: Path, name: str) -> None:
    with (heterogeneous_run / name).open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["shell", "resolution_A", "fsc"]
    assert [int(row["shell"]) for row in rows] == list(range(len(rows)))
    extent_A = BOX * pixel_size_A(simulated)
    for row in rows[1:]:
        assert float(row["resolution_A"]) == pytest.approx(extent_A / int(row["shell"]), abs=1e-3)
        assert -1.001 <= float(row["fsc"]) <= 1.001


def test_summary(heterogeneous_run: Path) -> None:
    summary = json.loads((heterogeneous_run / "summary.json").read_text())
    assert set(SUMMARY) <= set(summary)
    assert summary["particles"] == PARTICLES
    assert (summary["recipe"], summary["seed"], summary["latent_dim"]) == ("nunatak", 0, 1)
    assert any("too few" in warning for warning in summary["warnings"])
    # Noise around the molecule can only hide agreement.
    assert 2 * summary["pixel_size_A"] <= summary["resolution_molecule_A"] < 1.1 * summary["resolution_A"]


def test_the_report_is_self_contained(heterogeneous_run: Path) -> None:
    page = (heterogeneous_run / "report.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html")
    outside = re.findall(
        r"""(?:src|href)\s*=\s*["'](?!data:|#)[^"']+|url\((?!["']?(?:data:|#))[^)]*\)""", page
    )
    assert not outside
    assert not re.findall(r"@import|<script[^>]+src", page)


def same_numbers(run: Path, other: Path) -> bool:
    latents = [(folder / "latents.npy").read_bytes() for folder in (run, other)]
    maps = [(folder / "mean.mrc").read_bytes()[1024:] for folder in (run, other)]
    return particle_lines(run) == particle_lines(other) and latents[0] == latents[1] and maps[0] == maps[1]


def test_config_fed_back_repeats_the_run(
    heterogeneous_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another folder: paths in the file are absolute. That processes agree, test_resume.py shows."""
    run, config = tmp_path / "again", heterogeneous_run / "config.toml"
    monkeypatch.chdir(tmp_path)
    succeed("abinit", "--config", config, "-o", run)
    assert same_numbers(run, heterogeneous_run)
    assert (run / "config.toml").read_text() == config.read_text()


def test_options_go_before_the_config(heterogeneous_run: Path, tmp_path: Path) -> None:
    config = heterogeneous_run / "config.toml"
    succeed("abinit", f"--config={config}", "-o", tmp_path / "run", "--seed", 3, "--latent-dim", 0)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["seed"], summary["latent_dim"]) == (3, 0)
    text = config.read_text().replace("seed = 0", "seed = 3").replace("latent_dim = 1", "latent_dim = 0")
    assert (tmp_path / "run" / "config.toml").read_text() == text


@pytest.mark.parametrize("content", ["", "latent_dim = 3", "command = 7", "[engine]\nnosuch = 3", "\x00"])
def test_a_config_that_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(content)
    for path in (tmp_path / "config.toml", tmp_path, tmp_path / "nothing"):
        done = call("abinit", "--config", path, "-o", tmp_path / "run")
        assert done.is_refused(), done
    assert not (tmp_path / "run").exists()


def test_a_config_of_another_command(heterogeneous_run: Path, tmp_path: Path) -> None:
    done = call("reconstruct", "--config", heterogeneous_run / "config.toml", "-o", tmp_path / "run")
    assert done.is_refused()
    assert "nunatak abinit" in done.err


def test_relative_paths(simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that began with relative paths is resumed from anywhere."""
    shutil.copy(simulated / "particles.star", tmp_path / "moved.star")
    monkeypatch.chdir(tmp_path)
    datadir = os.path.relpath(simulated)
    succeed("abinit", "moved.star", "-o", "run", "--datadir", datadir, "--latent-dim", 0, *TINY)
    before = particle_lines(tmp_path / "run")
    monkeypatch.chdir("/")
    succeed("resume", tmp_path / "run")
    assert particle_lines(tmp_path / "run") == before


def mirrored(density: np.ndarray) -> np.ndarray:
    """Through the origin voxel of an even box."""
    return np.roll(density[::-1, ::-1, ::-1], 1, (0, 1, 2))


@pytest.fixture(scope="module")
def flipped_run(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The heterogeneous run, written in the other hand."""
    run = tmp_path_factory.mktemp("runs") / "flipped"
    succeed("abinit", simulated / "particles.star", "-o", run, "--latent-dim", 1, "--flip-hand", *TINY)
    return run


def test_flip_hand_mirrors_map_and_poses(simulated: Path, heterogeneous_run: Path, flipped_run: Path) -> None:
    run = flipped_run
    for name in ("mean.mrc", "half1.mrc", "half2.mrc"):
        assert np.array_equal(read_images(run / name), mirrored(read_images(heterogeneous_run / name)))
    assert (run / "latents.npy").read_bytes() == (heterogeneous_run / "latents.npy").read_bytes()
    mine, other = (
        json.loads(succeed("evaluate", r, "--truth", simulated).out) for r in (run, heterogeneous_run)
    )
    assert mine["hand"] == -other["hand"]
    for name in ("rot_median_deg", "shift_median_A", "mean_fsc05_A", "mean_fsc_auc"):
        assert mine[name] == pytest.approx(other[name], rel=1e-3, abs=1e-3), name


def test_flipped_poses_project_the_flipped_map_to_the_same_images(
    heterogeneous_run: Path, flipped_run: Path
) -> None:
    import torch

    from nunatak.core.fourier import half_plane
    from nunatak.projection.gridding import block_from_maps
    from nunatak.projection.operator import slice_block

    plane = half_plane(BOX, 12)
    slices = []
    for folder in (heterogeneous_run, flipped_run):
        density = torch.from_numpy(read_images(folder / "mean.mrc"))[None]
        poses = read_star(folder / "particles.star").poses
        assert poses is not None
        block = block_from_maps(density, 12)
        slices.append(slice_block(block, poses.rotations[:20].float(), plane.frequencies)[..., 0])
        shifts = poses.shifts_A
    assert torch.allclose(shifts, read_star(heterogeneous_run / "particles.star").poses.shifts_A)
    error = (slices[0] - slices[1]).abs().max() / slices[0].abs().max()
    assert error < 1e-3


def test_cryosparc_input_comes_back_as_cryosparc_too(cryosparc_run: tuple[Path, Path]) -> None:
    source, run = cryosparc_run
    rows = np.load(source, allow_pickle=False)
    written = np.load(run / "particles.cs", allow_pickle=False)
    assert set(rows.dtype.names) <= set(written.dtype.names)
    for name in rows.dtype.names:
        assert np.array_equal(written[name], rows[name]), name
    star, cs = read_star(run / "particles.star"), read_cryosparc(run / "particles.cs")
    assert star.poses is not None
    assert cs.poses is not None
    assert np.allclose(star.poses.rotations, cs.poses.rotations, atol=1e-4)
    assert np.allclose(star.poses.shifts_A, cs.poses.shifts_A, atol=1e-3)


def test_bare_stacks(simulated: Path, tmp_path: Path) -> None:
    """Optics that the user states; and images without a CTF."""
    stack, known = simulated / "particles.mrcs", ["--pixel-size-A", 11]
    for words in (
        ["--no-ctf"],
        [
            "--voltage-kV",
            300,
            "--spherical-aberration-mm",
            2.7,
            "--amplitude-contrast",
            0.1,
            "--defocus-A",
            15000,
        ],
    ):
        run = tmp_path / f"run{len(words)}"
        succeed("abinit", stack, "-o", run, *known, *words, "--latent-dim", 0, *TINY)
        assert voxel_A(run / "mean.mrc") == pytest.approx(11)
        assert len(read_tables(run / "particles.star")[1]) == PARTICLES
    assert call("abinit", stack, "-o", tmp_path / "run", *known, *TINY).is_refused()

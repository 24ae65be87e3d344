"""Selections, exports and conversions through the command line, from and to other programs' files."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from _commands import TINY, call, read_tables, succeed, write_cs
from PIL import Image

from nunatak.io.cryosparc import read_cryosparc, read_fields
from nunatak.io.star import read_star

QUICK = ("--no-umap", "--map-samples", 4, "--bootstraps", 2, "--steps", 3)
COUNT = 240
_CTF_FIELDS = ("df1_A", "df2_A", "df_angle_rad", "accel_kv", "cs_mm", "amp_contrast", "phase_shift_rad")


@pytest.fixture(scope="module")
def analysed(heterogeneous_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = shutil.copytree(heterogeneous_run, tmp_path_factory.mktemp("analysed") / "run")
    succeed("analyze", run, *QUICK)
    return run


def lasso(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_selection_is_reconstructed_and_is_exactly_the_selection(analysed: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "chosen.star"
    succeed("select", analysed, "-o", chosen, "--cluster", "0,2,5", "--indices", tmp_path / "rows.npy")
    rows = np.load(tmp_path / "rows.npy")
    assert np.array_equal(
        rows, np.flatnonzero(np.isin(np.load(analysed / "analysis/kmeans_labels.npy"), [0, 2, 5]))
    )
    succeed("reconstruct", chosen, "-o", tmp_path / "again", "--latent-dim", 0, *TINY)
    whole = read_tables(analysed / "particles.star")[1]
    again = read_tables(tmp_path / "again" / "particles.star")[1]
    expected = whole.iloc[rows].reset_index(drop=True)
    assert again["rlnImageName"].tolist() == expected["rlnImageName"].tolist()
    assert set(whole.columns) <= set(again.columns)
    assert again["rlnDefocusU"].equals(expected["rlnDefocusU"])


def test_cs_in_and_cs_out(cryosparc_run: tuple[Path, Path], tmp_path: Path) -> None:
    source, run = cryosparc_run
    succeed("select", run, "-o", tmp_path / "part.cs", "--above", 0, "--indices", tmp_path / "rows.npy")
    assert not (tmp_path / "part.star").exists()
    rows = np.load(tmp_path / "rows.npy")
    given, part = np.load(source), np.load(tmp_path / "part.cs")
    assert set(given.dtype.names) <= set(part.dtype.names)
    for name in given.dtype.names:
        assert np.array_equal(part[name], given[name][rows]), name
    assert "alignments3D/pose" in part.dtype.names
    assert f"num_items: {len(rows)}" in (tmp_path / "part.csg").read_text()
    assert len(read_cryosparc(tmp_path / "part.csg")) == len(rows)
    succeed("select", run, "-o", tmp_path / "both.star", "--above", 0)
    assert np.array_equal(read_fields(tmp_path / "both.cs")["uid"], part["uid"])
    succeed("reconstruct", tmp_path / "part.cs", "-o", tmp_path / "again", "--latent-dim", 0, *TINY)
    assert np.array_equal(np.load(tmp_path / "again" / "particles.cs")["uid"], part["uid"])


def test_cryosparcs_own_tools_read_what_we_write(cryosparc_run: tuple[Path, Path], tmp_path: Path) -> None:
    reason = "cryosparc-tools is not installed: pip install cryosparc-tools"
    dataset = pytest.importorskip("cryosparc.dataset", reason=reason)
    source, run = cryosparc_run
    succeed("select", run, "-o", tmp_path / "part.cs", "--above", 0, "--indices", tmp_path / "rows.npy")
    rows, given = np.load(tmp_path / "rows.npy"), np.load(source)
    read = dataset.Dataset.load(tmp_path / "part.cs")
    assert len(read) == len(rows)
    assert np.array_equal(read["uid"], given["uid"][rows])
    assert np.array_equal(read["pick_stats/ncc_score"], given["pick_stats/ncc_score"][rows])
    assert [str(path) for path in read["blob/path"]] == [path.decode() for path in given["blob/path"][rows]]
    assert np.allclose(read["alignments3D/pose"], np.load(tmp_path / "part.cs")["alignments3D/pose"])


def test_ways_to_select(analysed: Path, tmp_path: Path) -> None:
    latents = np.load(analysed / "latents.npy")[:, 0]
    low, high = np.quantile(latents, [0.25, 0.75])
    positions = np.load(analysed / "analysis/path_straight.npy")
    middle = (positions[:, 0].min() + positions[:, 0].max()) / 2
    corners = [[low, low], [high, low], [high, high], [low, high]]
    plane = {"space": "latents", "axes": [0, 0], "polygon": corners}
    within = (latents >= low) & (latents <= high)
    np.save(tmp_path / "some.npy", np.array([3, 1, 200]))
    ways = {
        ("--rows", str(tmp_path / "some.npy")): np.isin(np.arange(COUNT), [1, 3, 200]),
        ("--region", f"0:{low}:{high}"): within,
        ("--lasso", str(lasso(tmp_path / "plane.json", plane))): (latents > low) & (latents < high),
        ("--path", "straight", "--max-path-distance", 0.2): positions[:, 1] <= 0.2,
        ("--path", "straight", "--path-range", 0, 0.5): positions[:, 0] <= middle,
    }
    for number, (words, expected) in enumerate(ways.items()):
        for invert in (False, True):
            if (~expected if invert else expected).any():
                out = tmp_path / f"{number}{invert}.npy"
                more = ["--invert"] if invert else []
                succeed("select", analysed, "-o", tmp_path / "x.star", *words, *more, "--indices", out)
                assert np.array_equal(np.load(out), np.flatnonzero(expected != invert)), (words, invert)


BROKEN = {
    "no JSON": "{",
    "a list": "[1, 2]",
    "two corners": {"polygon": [[0, 0], [1, 1]]},
    "an unknown space": {"space": "../../etc/passwd", "polygon": [[0, 0], [1, 1], [1, 0]]},
    "an axis too many": {"axes": [0, 7], "polygon": [[0, 0], [1, 1], [1, 0]]},
    "a negative axis": {"axes": [0, -1], "polygon": [[0, 0], [1, 1], [1, 0]]},
    "no numbers": {"polygon": [["a", 0], [1, 1], [1, 0]]},
    "infinite": '{"axes": [0, 0], "polygon": [[Infinity, 0], [1, 1], [1, 0]]}',
    "more than a lasso": {"polygon": [[0, 0], [1, 1], [1, 0]], "file": "x"},
    "nested deeply": "[" * 100_000,
    "no UMAP was made": {"space": "umap", "polygon": [[0, 0], [1, 1], [1, 0]]},
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_lasso_is_refused(name: str, analysed: Path, tmp_path: Path) -> None:
    path = lasso(tmp_path / "lasso.json", BROKEN[name])
    done = call("select", analysed, "-o", tmp_path / "x.star", "--lasso", path)
    assert done.is_refused(), done
    assert not (tmp_path / "x.star").exists()


@pytest.mark.parametrize(
    "words",
    [
        "--region 0:1",
        "--region a:0:1",
        "--region 0:2:1",
        "--region 9:0:1",
        "--class-number 1",
        "--path-range 0.5 0.1",
        "--path energies --max-path-distance 1",
        "--cluster 0 --clustering ../kmeans",
        "--lasso /nonexistent.json",
        "--rows /nonexistent.npy",
    ],
)
def test_select_refuses_what_makes_no_sense(words: str, analysed: Path, tmp_path: Path) -> None:
    assert call("select", analysed, "-o", tmp_path / "x.star", *words.split()).is_refused()
    assert call("select", analysed, "-o", tmp_path / "x.docx", "--above", 0).is_refused()
    assert call("select", analysed, "-o", tmp_path / "x.cs", "--above", 0).is_refused()


def test_export(analysed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = succeed(
        *("export", analysed, "-o", out, "--what", "csv", "chimerax", "movie", "npz"),
        *("--path", "straight", "--size-px", 64, "--between", 0, "--json"),
    )
    files = [Path(name) for name in json.loads(done.out)["files"]]
    assert all(path.is_file() for path in files)
    table = np.genfromtxt(out / "particles.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    assert len(table) == COUNT
    assert np.allclose(table["latent_0"], np.load(analysed / "latents.npy")[:, 0], rtol=1e-5)
    script = (out / "straight.cxc").read_text()
    for word in [word for line in script.splitlines() for word in line.split() if word.endswith(".mrc")]:
        assert (out / word).is_file()
    assert "movie encode straight.mp4" in (out / "straight_movie.cxc").read_text()
    with Image.open(out / "straight.gif") as film:
        assert film.n_frames == 4
        frames = []
        for number in range(3):
            film.seek(number)
            frames.append(np.asarray(film.convert("RGB"), float))
    assert np.abs(frames[0] - frames[2]).max() > 20
    stored = np.load(out / "cryodrgn.npz")
    assert stored["rotations"].shape == (COUNT, 3, 3)
    assert stored["ctf"].shape == (COUNT, 9)


def test_export_refuses(heterogeneous_run: Path, analysed: Path, tmp_path: Path) -> None:
    assert call("export", tmp_path, "-o", tmp_path / "out").is_refused()
    assert call("export", heterogeneous_run, "-o", tmp_path / "out", "--what", "movie").is_refused()
    if shutil.which("ffmpeg") is None:
        assert call("export", analysed, "-o", tmp_path / "out", "--what", "mp4").is_refused()
    hostile = shutil.copytree(analysed, tmp_path / "hostile")
    told = json.loads((hostile / "analysis/analysis.json").read_text())
    (hostile / "analysis/analysis.json").write_text(json.dumps({**told, "recommended_path": "../../x"}))
    assert call("export", hostile, "-o", tmp_path / "out", "--what", "movie").is_refused()


def test_a_new_analysis_removes_only_its_own_files(analysed: Path, tmp_path: Path) -> None:
    run = shutil.copytree(analysed, tmp_path / "run")
    told = json.loads((run / "analysis/analysis.json").read_text())
    victim = tmp_path / "victim.npy"
    victim.write_text("mine")
    (run / "analysis" / "lasso.json").write_text("mine")
    listed = [*told["files"], "../../victim.npy", str(victim)]
    (run / "analysis/analysis.json").write_text(json.dumps({**told, "files": listed}))
    succeed("analyze", run, *QUICK, "--kmeans", 2)
    assert victim.read_text() == "mine"
    assert (run / "analysis" / "lasso.json").read_text() == "mine"
    assert not (run / "analysis/maps/kmeans_02.mrc").exists()


def test_convert_to_npz_and_back(simulated: Path, tmp_path: Path) -> None:
    truth = simulated / "truth.star"
    succeed("convert", truth, "-o", tmp_path / "all.npz")
    stored = np.load(tmp_path / "all.npz")
    poses, ctf = tmp_path / "pose.pkl", tmp_path / "ctf.pkl"
    poses.write_bytes(pickle.dumps((stored["rotations"], stored["translations"])))
    ctf.write_bytes(pickle.dumps(stored["ctf"]))
    stack = simulated / "particles.mrcs"
    for particles, more in ((stack, ["--ctf", ctf]), (simulated / "particles.star", [])):
        out = tmp_path / "back.star"
        succeed("convert", poses, "-o", out, "--particles", particles, *more)
        given, back = read_star(truth), read_star(out)
        assert back.poses is not None
        assert given.poses is not None
        assert np.allclose(back.poses.rotations, given.poses.rotations, atol=1e-5)
        assert np.allclose(back.poses.shifts_A, given.poses.shifts_A, atol=1e-3)
        for name in (
            "defocus_u_A",
            "defocus_v_A",
            "astigmatism_angle_deg",
            "voltage_kV",
            "amplitude_contrast",
        ):
            assert np.allclose(getattr(back.optics, name), getattr(given.optics, name), rtol=1e-4), name
        assert back.group_pixel_size_A == pytest.approx(given.group_pixel_size_A, rel=1e-4)


def test_convert_cs_to_star_and_latents(simulated: Path, tmp_path: Path) -> None:
    source = write_cs(tmp_path / "particles.cs", simulated)
    succeed("convert", simulated / "truth.star", "-o", tmp_path / "pose.npz")
    succeed("convert", tmp_path / "pose.npz", "-o", tmp_path / "posed.cs", "--particles", source)
    succeed("convert", tmp_path / "posed.cs", "-o", tmp_path / "posed.star")
    posed, truth = read_star(tmp_path / "posed.star"), read_star(simulated / "truth.star")
    assert posed.poses is not None
    assert truth.poses is not None
    assert np.allclose(posed.poses.rotations, truth.poses.rotations, atol=1e-5)
    assert np.allclose(posed.poses.shifts_A, truth.poses.shifts_A, atol=1e-3)
    (tmp_path / "z.pkl").write_bytes(
        pickle.dumps(np.ones((5, 3), np.float32)) + pickle.dumps(np.zeros((5, 3)))
    )
    succeed("convert", tmp_path / "z.pkl", "-o", tmp_path / "z.npy")
    assert np.load(tmp_path / "z.npy").shape == (5, 3)


def test_convert_refuses(simulated: Path, tmp_path: Path) -> None:
    star = simulated / "truth.star"
    (tmp_path / "z.pkl").write_bytes(pickle.dumps(np.ones((5, 3))))
    (tmp_path / "pose.pkl").write_bytes(pickle.dumps((np.repeat(np.eye(3)[None], 5, 0), np.zeros((5, 2)))))
    for words in (
        (star, "-o", tmp_path / "x.pkl"),
        (star, "-o", tmp_path / "x.cs"),
        (star, "-o", tmp_path / "x.txt"),
        (tmp_path / "z.pkl", "-o", tmp_path / "x.star", "--particles", star),
        (tmp_path / "pose.pkl", "-o", tmp_path / "x.star", "--particles", star),
        (tmp_path / "pose.pkl", "-o", tmp_path / "x.star"),
        (tmp_path / "pose.pkl", "-o", tmp_path / "x.npy"),
        (tmp_path / "nothing.pkl", "-o", tmp_path / "x.npz"),
        (tmp_path / "pose.pkl", "-o", tmp_path / "x.npz", "--ctf", tmp_path / "z.pkl"),
    ):
        done = call("convert", *words)
        assert done.is_refused(), (words, done)
    assert not list(tmp_path.glob("x.*"))

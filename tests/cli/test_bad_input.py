"""Bad input and bad usage: exit status 2, one sentence, and no run folder left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from _commands import TINY, Done, call, read_images, read_tables, write_set, write_tables


def abinit(particles: Path, run: Path, *words: object) -> Done:
    return call("abinit", particles, "-o", run, "--latent-dim", 0, *TINY, *words)


def truncated_stack(folder: Path, source: Path) -> Path:
    star = write_set(folder, read_images(source / "particles.mrcs")[:20], source / "particles.star")
    stack = folder / "images.mrcs"
    stack.write_bytes(stack.read_bytes()[:-5000])
    return star


def missing_stack(folder: Path, source: Path) -> Path:
    star = write_set(folder, read_images(source / "particles.mrcs")[:20], source / "particles.star")
    (folder / "images.mrcs").unlink()
    return star


def without_ctf(folder: Path, source: Path) -> Path:
    star = write_set(folder, read_images(source / "particles.mrcs"), source / "particles.star")
    optics, rows = read_tables(star)
    kept = [name for name in rows if "Defocus" not in name and "Phase" not in name]
    return write_tables(star, optics, rows[kept])


def nan_pixels(folder: Path, source: Path) -> Path:
    images = read_images(source / "particles.mrcs")[:20]
    images[7, 3, 4] = np.nan
    return write_set(folder, images, source / "particles.star")


def huge_pixels(folder: Path, source: Path) -> Path:
    images = read_images(source / "particles.mrcs")[:20]
    images[4] *= 1e30
    return write_set(folder, images, source / "particles.star")


def box_mismatch(folder: Path, source: Path) -> Path:
    star = write_set(folder, read_images(source / "particles.mrcs")[:20], source / "particles.star")
    optics, rows = read_tables(star)
    optics["rlnImageSize"] = 48
    return write_tables(star, optics, rows)


def image_beyond_the_stack(folder: Path, source: Path) -> Path:
    star = write_set(folder, read_images(source / "particles.mrcs")[:20], source / "particles.star")
    optics, rows = read_tables(star)
    rows.loc[5, "rlnImageName"] = "000021@images.mrcs"
    return write_tables(star, optics, rows)


def one_particle(folder: Path, source: Path) -> Path:
    return write_set(folder, read_images(source / "particles.mrcs")[:1], source / "particles.star")


def empty_star(folder: Path, source: Path) -> Path:
    folder.mkdir()
    header = (source / "particles.star").read_text().split("000001@")[0]
    (folder / "particles.star").write_text(header)
    return folder / "particles.star"


def empty_file(folder: Path, source: Path) -> Path:
    folder.mkdir()
    (folder / "particles.star").write_text("")
    return folder / "particles.star"


def nothing_there(folder: Path, source: Path) -> Path:
    return folder / "particles.star"


def a_folder(folder: Path, source: Path) -> Path:
    folder.mkdir()
    return folder


def a_text_file(folder: Path, source: Path) -> Path:
    folder.mkdir()
    (folder / "particles.star").write_text("Dear colleagues,\nplease find my particles attached.\n")
    return folder / "particles.star"


def binary_as_star(folder: Path, source: Path) -> Path:
    folder.mkdir()
    (folder / "particles.star").write_bytes(bytes(range(256)) * 20)
    return folder / "particles.star"


def text_as_cs(folder: Path, source: Path) -> Path:
    folder.mkdir()
    (folder / "particles.cs").write_text("no numpy array")
    return folder / "particles.cs"


def unknown_ending(folder: Path, source: Path) -> Path:
    folder.mkdir()
    (folder / "particles.docx").write_text("nothing")
    return folder / "particles.docx"


def stack_of_a_tiny_box(folder: Path, source: Path) -> Path:
    return write_set(folder, read_images(source / "particles.mrcs")[:20, :8, :8], source / "particles.star")


def only_constant_images(folder: Path, source: Path) -> Path:
    return write_set(folder, np.full((20, 32, 32), 3.0), source / "particles.star")


CASES = [
    (truncated_stack, "truncated"),
    (missing_stack, "missing"),
    (without_ctf, "no CTF"),
    (nan_pixels, "row 8"),
    (huge_pixels, "row 5"),
    (box_mismatch, "48"),
    (image_beyond_the_stack, "only 20 images"),
    (one_particle, "1 particle"),
    (empty_star, "empty"),
    (empty_file, "rlnImageName"),
    (nothing_there, "does not exist"),
    (a_folder, "folder"),
    (a_text_file, "no particle file"),
    (binary_as_star, "particles.star"),
    (text_as_cs, "particles.cs"),
    (unknown_ending, ".star"),
    (stack_of_a_tiny_box, "16 px"),
    (only_constant_images, "constant"),
]


@pytest.mark.parametrize(("make", "said"), CASES, ids=[make.__name__ for make, _ in CASES])
def test_bad_particles(
    make: Callable[[Path, Path], Path], said: str, simulated: Path, tmp_path: Path
) -> None:
    done = abinit(make(tmp_path / "input", simulated), tmp_path / "run")
    assert done.is_refused(), (done.status, done.err)
    assert said in done.err
    assert not (tmp_path / "run").exists()


OPTIONS = [
    ("--latent-dim 99", "--latent-dim should be 'auto' or less than or equal to 16 (got 99)"),
    ("--latent-dim many", "no type matching {auto}|INT could be instantiated from ['many'];"),
    ("--recipe nosuch", "nosuch"),
    ("--resolution-limit-A 1e6", "--resolution-limit-A"),
    ("--resolution-limit-A 0.1", "--resolution-limit-A"),
    ("--resolution-limit-A -3", "--resolution-limit-A"),
    ("--particle-diameter-A 1e5", "--particle-diameter-A"),
    ("--particle-diameter-A 1", "--particle-diameter-A"),
    ("--pixel-size-A 0", "--pixel-size-A"),
    ("--pixel-size-A nan", "--pixel-size-A"),
    ("--threads -1", "--threads"),
    ("--seed -1", "--seed"),
    ("--device gpu", "--device"),
    ("--contrast grey", "--contrast"),
    ("--nosuch 3", "--nosuch"),
    ("--latent-dims 3", "--latent-dim meant"),
    ("--datadir /nonexistent --passthrough", "passthrough"),
]


@pytest.mark.parametrize(("words", "said"), OPTIONS, ids=[words for words, _ in OPTIONS])
def test_bad_options(words: str, said: str, simulated: Path, tmp_path: Path) -> None:
    done = abinit(simulated / "particles.star", tmp_path / "run", *words.split())
    assert done.is_refused(), (done.status, done.err)
    assert said in done.err
    assert not (tmp_path / "run").exists()


def test_cuda_that_is_not_there(simulated: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    done = abinit(simulated / "particles.star", tmp_path / "run", "--device", "cuda")
    assert done.is_refused()
    assert "CUDA" in done.err


def test_the_output_folder_is_a_file(simulated: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        assert abinit(simulated / "particles.star", place).is_refused()
    assert (tmp_path / "file").read_text() == "kept"


def test_poses_that_are_not_there(simulated: Path, tmp_path: Path) -> None:
    for command in ("reconstruct", "heterogeneity"):
        done = call(command, simulated / "particles.star", "-o", tmp_path / "run", *TINY)
        assert done.is_refused()
        assert "rlnAngleRot" in done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words",
    [
        "--box-px 2",
        "--snr -1",
        "--particles 0",
        "--structure /nonexistent.pdb",
        "--junk-fraction 2",
        "--seed x",
        "--amplitude-contrast 5",
    ],
)
def test_bad_simulation(words: str, tmp_path: Path) -> None:
    assert call("simulate", tmp_path / "set", *words.split()).is_refused()


def test_debug_shows_where_an_error_came_from(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="does not exist") as caught:
        call("inspect", tmp_path / "nothing.star", "--debug")
    assert caught.type.__name__ == "InputError"


def test_no_ctf_is_taken_at_its_word(simulated: Path, tmp_path: Path) -> None:
    done = abinit(without_ctf(tmp_path / "input", simulated), tmp_path / "run", "--no-ctf")
    assert done.status == 0, done.err


def images_of(simulated: Path, count: int) -> np.ndarray:
    return read_images(simulated / "particles.mrcs")[:count]


def odd_box(simulated: Path) -> np.ndarray:
    padded = np.pad(images_of(simulated, 60), ((0, 0), (0, 1), (0, 1)), mode="reflect")
    return padded


def smallest_box(simulated: Path) -> np.ndarray:
    return images_of(simulated, 60)[:, 8:24, 8:24]


def three_particles(simulated: Path) -> np.ndarray:
    return images_of(simulated, 3)


def two_particles(simulated: Path) -> np.ndarray:
    return images_of(simulated, 2)


def identical_images(simulated: Path) -> np.ndarray:
    return np.repeat(images_of(simulated, 1), 40, 0)


def some_constant_images(simulated: Path) -> np.ndarray:
    images = images_of(simulated, 60)
    images[::7] = 5.0
    return images


def huge_values(simulated: Path) -> np.ndarray:
    images = images_of(simulated, 60)
    images[3] *= 1e12
    images[4] += 1e7
    images[5, 10, 10] = 1e15
    return images


ODD = [
    pytest.param(make, latent_dim, id=f"{make.__name__}-{latent_dim}")
    for make, latent_dims in (
        (odd_box, [0]),
        (smallest_box, [1]),
        (three_particles, [0, 1]),
        (two_particles, [1]),
        (identical_images, [1]),
        (some_constant_images, [0]),
        (huge_values, [1]),
    )
    for latent_dim in latent_dims
]


@pytest.mark.parametrize(("make", "latent_dim"), ODD)
def test_odd_particles_are_run_to_the_end(
    make: Callable[[Path], np.ndarray], latent_dim: int, simulated: Path, tmp_path: Path, with_report: None
) -> None:
    star = write_set(tmp_path / "input", make(simulated), simulated / "particles.star")
    done = abinit(star, tmp_path / "run", "--latent-dim", latent_dim)
    assert done.status == 0, done.err
    assert np.isfinite(read_images(tmp_path / "run" / "mean.mrc")).all()
    _, rows = read_tables(tmp_path / "run" / "particles.star")
    added = [name for name in rows if name.startswith(("rlnAngle", "rlnOrigin", "nunatak"))]
    assert len(added) == 7
    assert np.isfinite(rows[added].to_numpy()).all()
    found = json.loads((tmp_path / "run" / "summary.json").read_text())["outcome"] != "no structure found"
    assert (tmp_path / "run" / "latents.npy").exists() == (found and latent_dim > 0)
    if found and latent_dim:
        assert np.isfinite(np.load(tmp_path / "run" / "latents.npy")).all()

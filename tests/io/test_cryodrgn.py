"""cryoDRGN's conventions, against its own files made from star and .cs, and round trips."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from _star_inputs import SHARED

from nunatak.core.errors import InputError
from nunatak.geometry.rotations import matrices_from_euler
from nunatak.io.cryodrgn import CryodrgnArrays, cryodrgn_arrays, read_cryodrgn, write_npz
from nunatak.io.cryosparc import read_cryosparc
from nunatak.io.star import read_star

FILES = SHARED / "metadata" / "cryodrgn_tests"


def shared(name: str) -> Path:
    if not (FILES / name).exists():
        pytest.skip("the shared data are not beside the repository")
    return FILES / name


@pytest.mark.parametrize(
    ("source", "poses", "box_px"),
    [
        ("FinalRefinement-OriginalParticles-PfCRT.star", "pose.star.pkl", 300),
        ("cryosparc_P12_J24_001_particles.cs", "pose.cs.pkl", 180),
    ],
)
def test_poses_are_those_that_cryodrgn_made_of_the_same_file(source: str, poses: str, box_px: int) -> None:
    read = read_star if source.endswith(".star") else read_cryosparc
    ours, theirs = cryodrgn_arrays(read(shared(source)), box_px), read_cryodrgn(shared(poses))
    assert ours.rotations is not None
    assert ours.translations is not None
    assert np.abs(ours.rotations - theirs.rotations).max() < 1e-6
    assert np.abs(ours.translations - theirs.translations).max() < 1e-6


def test_a_ctf_table_is_that_of_the_same_file() -> None:
    ours = cryodrgn_arrays(read_cryosparc(shared("cryosparc_P12_J24_001_particles.cs"))).ctf
    theirs = read_cryodrgn(shared("ctf2.pkl")).ctf
    assert np.allclose(ours, theirs, rtol=1e-5, atol=1e-4)


def test_latents() -> None:
    assert read_cryodrgn(shared("zvals_het-8_4k.pkl")).latents.shape == (4549, 8)
    assert read_cryodrgn(shared("test_ctf.100.pkl")).ctf.shape == (100, 9)


def poses(count: int = 4) -> CryodrgnArrays:
    generator = np.random.default_rng(0)
    import torch

    angles = torch.from_numpy(generator.uniform(0, 180, (count, 3)))
    return CryodrgnArrays(matrices_from_euler(angles).numpy(), generator.normal(size=(count, 2)) * 0.02)


def test_npz_and_pickle_say_the_same(tmp_path: Path) -> None:
    given = poses()
    write_npz(tmp_path / "a.npz", given)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps((given.rotations, given.translations)))
    for name in ("a.npz", "a.pkl"):
        found = read_cryodrgn(tmp_path / name)
        assert np.allclose(found.rotations, given.rotations, atol=1e-6)
        assert np.allclose(found.translations, given.translations, atol=1e-8)


def test_a_convention_in_numbers(tmp_path: Path) -> None:
    """Looking down a turned axis: rot 90 about z brings the molecule's y to the image's x."""
    import torch

    found = matrices_from_euler(torch.tensor([[90.0, 0.0, 0.0]])).numpy()[0]
    assert np.allclose(found @ [0, 1, 0], [1, 0, 0], atol=1e-6)


WRONG = {
    "no rotations": (np.ones((3, 3, 3)), np.zeros((3, 2))),
    "other lengths": (np.repeat(np.eye(3)[None], 3, 0), np.zeros((2, 2))),
    "one axis": np.zeros(5),
    "a number": 3.0,
    "not finite": (np.full((2, 3, 3), np.nan), np.zeros((2, 2))),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_content_gets_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(WRONG[name]))
    with pytest.raises(InputError) as refused:
        read_cryodrgn(tmp_path / "a.pkl")
    assert "\n" not in str(refused.value)


def test_wrong_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", other=np.ones(3))
    np.savez(tmp_path / "b.npz", rotations=np.ones((3, 2)))
    np.savez(tmp_path / "c.npz", rotations=np.array([None], object))
    (tmp_path / "d.npz").write_text("no archive")
    for name in "abcde":
        with pytest.raises(InputError):
            read_cryodrgn(tmp_path / f"{name}.npz")

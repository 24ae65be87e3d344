"""Runs with a trained volume: their folder, maps through the network, and going on after a stop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from _commands import call, particle_lines, succeed
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from nunatak.io.mrc import read_map
from nunatak.runs.volumes import LatentVolumes

QUICK = [
    "--threads=1",
    "--latent-dim=2",
    "--epochs=2",
    "--batch=60",
    "--encoder-width=16",
    "--radius-end-px=8",
]


@pytest.fixture(scope="module", params=["grid", "network"])
def trained_run(
    request: pytest.FixtureRequest, simulated: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A cryodrgn run with either volume; what it finds is of no account."""
    folder = tmp_path_factory.mktemp("trained") / request.param
    truth = simulated / "truth.star"
    words = ["heterogeneity", truth, "-o", folder, "--recipe", "cryodrgn", "--decoder", request.param]
    succeed(*words, "--decoder-width=16", "--resolution-limit-A=20", *QUICK)
    return folder


def test_maps_at_latents_come_from_the_trained_volume(trained_run: Path, tmp_path: Path) -> None:
    volumes = LatentVolumes(trained_run)
    linear = volumes.maps[0] + np.tensordot(volumes.latents[57], volumes.maps[1:], 1)
    succeed("volumes", trained_run, "-o", tmp_path / "maps", "--at-particles", "57,3")
    density, pixel_size_A, _ = read_map(tmp_path / "maps" / "vol_000057.mrc")
    assert density.shape == linear.shape
    assert pixel_size_A == pytest.approx(volumes.pixel_size_A, rel=1e-4)
    np.testing.assert_allclose(density, volumes.at(volumes.latents[57]), rtol=1e-4, atol=1e-5)
    assert np.abs(density - linear).max() > 0.01 * np.abs(linear).max()
    other, _, _ = read_map(tmp_path / "maps" / "vol_000003.mrc")
    assert np.abs(density - other).max() > 0


def test_weights_are_in_the_folder_without_a_pickle(trained_run: Path) -> None:
    with safe_open(trained_run / "model.safetensors", framework="numpy") as stored:
        names, told = set(stored.keys()), stored.metadata()
    assert {"maps", "latent_centre", "latent_transform"} < names
    assert any(name.startswith("decoder.") for name in names)
    assert '"kind"' in told["decoder_plan"]
    assert (trained_run / "latents_covariance.npy").exists()


def test_damaged_weights_get_a_sentence(trained_run: Path, tmp_path: Path) -> None:
    tensors = load_file(trained_run / "model.safetensors")
    with safe_open(trained_run / "model.safetensors", framework="numpy") as stored:
        told = stored.metadata()
    broken = tmp_path / "broken"
    broken.mkdir()
    np.save(broken / "latents.npy", np.zeros((240, 2), np.float32))
    lost = {n: t for n, t in tensors.items() if not n.startswith("decoder.") or n.endswith("amplitude")}
    save_file(lost, broken / "model.safetensors", told)
    assert call("volumes", broken, "-o", tmp_path / "maps", "--path", 0).is_refused()
    save_file(tensors, broken / "model.safetensors", told | {"decoder_plan": "{}"})
    assert call("volumes", broken, "-o", tmp_path / "maps", "--path", 0).is_refused()


def test_the_other_hand_is_the_mirrored_map(simulated: Path, tmp_path: Path) -> None:
    words = ["heterogeneity", simulated / "truth.star", "--recipe", "cryodrgn-ai-fixed", "--decoder", "grid"]
    words += ["--resolution-limit-A=20", *QUICK]
    succeed(*words, "-o", tmp_path / "one")
    succeed(*words, "-o", tmp_path / "other", "--flip-hand")
    first, second = LatentVolumes(tmp_path / "one"), LatentVolumes(tmp_path / "other")
    mirrored = np.roll(first.at(first.latents[5])[::-1, ::-1, ::-1], (1, 1, 1), (0, 1, 2))
    np.testing.assert_allclose(second.at(second.latents[5]), mirrored, atol=1e-4)
    assert particle_lines(tmp_path / "one") != particle_lines(tmp_path / "other")


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        ("heterogeneity", "--recipe cryodrgn --latent-dim 0", "--latent-dim"),
        ("abinit", "--recipe cryodrgn-ai --l-end 17", "16 or less"),
        ("abinit", "--recipe cryodrgn2 --l-start 14 --l-end 12", "--l-start"),
        ("abinit", "--recipe cryodrgn", "needs poses"),
        ("abinit", "--recipe cryofire --latent-dim 0", "--latent-dim is 0"),
        ("abinit", "--recipe cryoai --latent-dim 3", "recipe cryofire"),
        ("abinit", "--recipe cryoai --l-start 14 --l-end 12", "--l-start"),
        ("abinit", "--recipe cryofire --plane-copies 0", "plane-copies"),
        ("heterogeneity", "--recipe cryoai", "finds poses itself"),
        ("heterogeneity", "--recipe cryodrgn-ai", "finds poses itself"),
        ("heterogeneity", "--recipe cryodrgn --decoder voxels", "decoder"),
    ],
)
def test_bad_combinations_get_a_sentence(
    command: str, words: str, said: str, simulated: Path, tmp_path: Path
) -> None:
    done = call(command, simulated / "truth.star", "-o", tmp_path / "run", *words.split())
    assert done.is_refused(), done.err
    assert said in done.err
    assert not (tmp_path / "run").exists()

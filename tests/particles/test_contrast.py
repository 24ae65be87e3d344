"""Bright or dark: right where there is protein, unsure where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from _particle_inputs import SHARED, blobs

from nunatak.particles.contrast import guess_contrast_sign
from nunatak.particles.dataset import MemoryImages
from nunatak.particles.reading import read_particles


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("seed", [0, 1])
def test_simulated_particles(sign: int, seed: int) -> None:
    guessed, confidence = guess_contrast_sign(blobs(150, 0.1, sign, seed))
    assert guessed == sign
    assert confidence > 0.99


def test_noise_gives_no_confidence() -> None:
    particles = blobs(200, 1.0)
    for seed in range(5):
        noise = MemoryImages(np.random.default_rng(seed).normal(size=(200, 48, 48)))
        assert guess_contrast_sign(replace(particles, images=noise))[1] < 0.5


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_images_give_no_confidence(count: int) -> None:
    flat = replace(blobs(count, 1.0), images=MemoryImages(np.zeros((count, 48, 48))))
    assert guess_contrast_sign(flat)[1] == 0


def test_same_seed_same_answer() -> None:
    particles = blobs(100, 0.05)
    assert guess_contrast_sign(particles, 50, seed=3) == guess_contrast_sign(particles, 50, seed=3)


@pytest.mark.parametrize(
    ("name", "sign"),
    [("betagal_10061/particles_192.star", -1), ("simplecryoem/relion_proj_batch.star", 1)],
)
def test_known_particles(name: str, sign: int) -> None:
    path = SHARED / "particles" / name
    if not path.exists():
        pytest.skip("the shared data are not beside the repository")
    guessed, confidence = guess_contrast_sign(read_particles(path))
    assert guessed == sign
    assert confidence > 0.99


def test_empty_ice_of_a_microscope() -> None:
    path = SHARED / "particles" / "betagal_10061" / "background_192.mrcs"
    if not path.exists():
        pytest.skip("the shared data are not beside the repository")
    assert guess_contrast_sign(read_particles(path))[1] < 0.5

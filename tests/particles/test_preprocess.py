"""After normalisation the background has mean 0, no ramp and variance 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nunatak.particles import preprocess


def normalise(images: np.ndarray, sign: int, circle_radius_px: float) -> tuple[np.ndarray, np.ndarray]:
    """The function under test, in numpy."""
    result, constant = preprocess.normalise(torch.from_numpy(images), sign, circle_radius_px)
    return result.numpy(), constant.numpy()


def outside(box: int, radius_px: float) -> np.ndarray:
    axis = np.arange(box) - box // 2
    return np.hypot(axis[:, None], axis[None]) > radius_px


@pytest.mark.parametrize("box", [32, 33])
def test_background_is_standard(box: int) -> None:
    generator = np.random.default_rng(0)
    ramp = np.linspace(0, 40, box)[None, :, None] - np.linspace(0, 20, box)[None, None]
    noise = generator.normal(size=(5, box, box))
    inside = ~outside(box, 8)
    images = (1e4 + 7 * noise + ramp + 30 * inside).astype(np.float32)
    result, constant = normalise(images, 1, 10)
    background = result[:, outside(box, 10)]
    assert result.dtype == np.float32
    assert not constant.any()
    assert np.allclose(background.mean(1), 0, atol=1e-3)
    assert np.allclose(background.std(1), 1, atol=1e-3)
    assert np.corrcoef(background[0], np.broadcast_to(ramp, noise.shape)[0][outside(box, 10)])[0, 1] < 1e-2
    assert result[:, ~outside(box, 6)].mean() == pytest.approx(30 / 7, rel=0.1)


def test_sign() -> None:
    images = np.random.default_rng(0).normal(size=(2, 16, 16)).astype(np.float32)
    assert np.array_equal(normalise(images, -1, 5)[0], -normalise(images, 1, 5)[0])


@pytest.mark.parametrize("level", [0.0, 5.0, -1e6])
def test_constant_image_is_zeroed_and_reported(level: float) -> None:
    images = np.random.default_rng(0).normal(size=(3, 16, 16)).astype(np.float32)
    images[1] = level
    result, constant = normalise(images, 1, 6)
    assert constant.tolist() == [False, True, False]
    assert not result[1].any()
    assert np.isfinite(result).all()


def test_masked_image_keeps_its_contrast() -> None:
    images = np.random.default_rng(0).normal(size=(2, 16, 16)).astype(np.float32)
    images[:, outside(16, 5)] = 0
    result, constant = normalise(images, 1, 6)
    assert not constant.any()
    assert result.std() == pytest.approx(1, rel=0.3)


def test_circle_larger_than_the_box_leaves_the_corners() -> None:
    images = np.random.default_rng(0).normal(size=(2, 16, 16)).astype(np.float32)
    result, _ = normalise(images, 1, 100)
    assert np.allclose(result[:, outside(16, 8)].std(1), 1, atol=1e-3)


def test_no_images() -> None:
    result, constant = normalise(np.zeros((0, 8, 8), np.float32), 1, 3)
    assert result.shape == (0, 8, 8)
    assert constant.shape == (0,)

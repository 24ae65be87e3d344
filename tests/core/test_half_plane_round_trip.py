"""Images to half-plane samples and back, for even and odd boxes, also between pixel sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nunatak.core.device import to_device
from nunatak.core.errors import InputError, require
from nunatak.core.fourier import fourier_map, half_plane, images_from_samples, real_map, sample_images

quick = settings(max_examples=25, deadline=None)
boxes = st.integers(8, 33)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@quick
@given(boxes, st.integers(1, 40), st.integers(0, 99))
def test_samples_survive_the_way_through_images(box: int, radius: int, seed: int) -> None:
    plane = half_plane(box, radius)
    samples = torch.complex(noise(2, len(plane), seed=seed), noise(2, len(plane), seed=seed + 1))
    images = images_from_samples(samples, plane)
    assert images.shape == (2, box, box)
    torch.testing.assert_close(sample_images(images, plane), samples, atol=1e-4, rtol=1e-4)
    assert images.mean().abs() < 1e-5


@quick
@given(boxes, st.integers(0, 99))
def test_samples_are_those_of_a_plain_fft(box: int, seed: int) -> None:
    image = noise(1, box, box, seed=seed)
    plane = half_plane(box, box)
    shifted = np.fft.ifftshift(image[0].double().numpy())
    full = np.fft.fft2(shifted) / box
    kx, ky = plane.frequencies.numpy().T
    np.testing.assert_allclose(sample_images(image, plane)[0], full[ky % box, kx % box], atol=1e-4)


@quick
@given(boxes, st.integers(0, 99))
def test_inner_products_are_twice_the_real_part(box: int, seed: int) -> None:
    plane = half_plane(box, box)
    a, b = (
        images_from_samples(sample_images(noise(1, box, box, seed=seed + i), plane), plane) for i in (0, 1)
    )
    direct = (a * b).sum().item()
    half = 2 * (sample_images(a, plane) * sample_images(b, plane).conj()).sum().real.item()
    assert half == pytest.approx(direct, abs=1e-3 * box**2)


@quick
@given(st.sampled_from([24, 25, 32]), st.sampled_from([30, 31, 48]))
def test_another_pixel_grid_shows_the_same_molecule(box: int, fine_box: int) -> None:
    """A Gaussian imaged at 3 A and at a finer pixel has the same samples, up to the pixel's area."""
    pixel_size_A = 3.0
    fine_A = pixel_size_A * 0.6
    centre_A, width_A = (7.0, -4.0), 6.0

    def image(size: int, step_A: float) -> torch.Tensor:
        axis = (torch.arange(size, dtype=torch.float64) - size // 2) * step_A
        x, y = axis[None, :] - centre_A[0], axis[:, None] - centre_A[1]
        return torch.exp(-(x**2 + y**2) / (2 * width_A**2))[None]

    plane = half_plane(box, 6)
    coarse = sample_images(image(box, pixel_size_A), plane)
    scale = fine_A / pixel_size_A
    fine = sample_images(image(fine_box, fine_A), plane, scale=scale, box_divisor=box / scale**2)
    tolerance = 0.02 * coarse.abs().max().item()
    torch.testing.assert_close(fine, coarse, atol=tolerance, rtol=0)


@quick
@given(boxes, st.integers(0, 9))
def test_maps_survive_the_way_through_fourier_space(box: int, seed: int) -> None:
    volume = noise(box, box, box, seed=seed)
    torch.testing.assert_close(real_map(fourier_map(volume)), volume, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("box", [32, 33])
def test_central_plane_of_a_map_is_the_transform_of_its_projection(box: int) -> None:
    volume = noise(box, box, box)
    plane = half_plane(box, 12)
    kx, ky = (plane.frequencies + box // 2).T
    sliced = fourier_map(volume)[box // 2, ky, kx]
    torch.testing.assert_close(sample_images(volume.sum(0)[None], plane)[0], sliced, atol=1e-3, rtol=1e-3)


def test_planes_are_shared_and_sized() -> None:
    assert half_plane(32, 8) is half_plane(32, 8)
    plane = half_plane(64, 20)
    assert len(plane) == pytest.approx(math.pi * 20**2 / 2, rel=0.03)
    assert plane.count_within(20) == len(plane)
    assert len(to_device(plane, "cpu")) == len(plane)


def test_require_raises_its_sentence() -> None:
    require(True, "never said")
    with pytest.raises(InputError, match="said once") as caught:
        require(False, "said once")
    assert caught.value.exit_status == 2

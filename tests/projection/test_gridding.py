"""Blocks from maps and back: interpolation against exact sums, insertion against the map that was sliced."""

from __future__ import annotations

import math

import finufft
import numpy as np
import pytest
import torch
from torch import Tensor

from nunatak.core.fourier import fourier_map, half_plane
from nunatak.geometry.rotations import random_rotations
from nunatak.projection.gridding import (
    block_by_products,
    block_from_maps,
    interpolation_window,
    maps_from_block,
)
from nunatak.projection.operator import Projector, insert_block
from nunatak.projection.slices import block_shape
from nunatak.volumes.maps import radius_grid, soft_sphere
from nunatak.volumes.wiener import FourierSums, solve_maps


def smooth_map(box: int, width_px: float, seed: int = 0) -> Tensor:
    """A few Gaussian blobs off centre: almost nothing at the box's edge or at the Nyquist frequency."""
    rng = np.random.default_rng(seed)
    axis = np.arange(box) - box // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = np.zeros((box, box, box))
    for cx, cy, cz, weight in np.c_[rng.uniform(-0.15 * box, 0.15 * box, (6, 3)), rng.uniform(0.5, 1.5, 6)]:
        volume += weight * np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (2 * width_px**2))
    return torch.from_numpy(volume).float()


def exact_slices(volume: Tensor, rotations: Tensor, frequencies: Tensor) -> Tensor:
    """(p, n) non-uniform Fourier sums over the voxels, to twelve digits (conventions 2 and 4)."""
    box = volume.shape[-1]
    points = torch.einsum("nk,pkd->pnd", frequencies.double(), rotations[:, :2].double())
    x, y, z = ((2 * math.pi / box) * points.reshape(-1, 3)).T.contiguous().numpy()
    grid = volume.numpy().astype(np.complex128)
    sums = finufft.nufft3d2(z, y, x, grid, isign=-1, eps=1e-12, nthreads=1)
    return torch.from_numpy(sums).reshape(len(rotations), -1) / box


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("box", [24, 25])
@pytest.mark.parametrize(
    ("padding", "at_most"),
    [(1, 0.35), (2, 0.055), (3, 0.024)],
    ids=["padding 1", "padding 2", "padding 3"],
)
def test_slices_of_a_masked_white_map_are_the_exact_sums(box: int, padding: int, at_most: float) -> None:
    """White noise up to the mask is the worst a map can be; 0.25-0.275, 0.042-0.045, 0.017-0.019 measured."""
    generator = torch.Generator().manual_seed(box)
    volume = torch.randn(box, box, box, generator=generator) * soft_sphere(box, 0.42 * box, 2.0)
    plane = half_plane(box, (box - 1) // 2)
    rotations = random_rotations(20, generator)
    projector = Projector(plane.frequencies, plane.radius_px, box, padding)
    found = projector.forward(volume[None], rotations)[..., 0]
    expected = exact_slices(volume, rotations, plane.frequencies)
    assert relative_error(found, expected) < at_most
    # The correction for interpolation leaves no bias in scale: 0.1 % measured at padding 2.
    scale = float((found.conj() * expected).real.sum() / expected.abs().square().sum())
    assert scale == pytest.approx(1, abs=0.02 if padding == 1 else 0.005)


@pytest.mark.parametrize("box", [24, 25])
def test_slices_of_a_molecule_are_the_exact_sums(box: int) -> None:
    """Density within a quarter of the box, where interpolation errs least: 0.010 measured."""
    volume = smooth_map(box, 1.5)
    plane = half_plane(box, (box - 1) // 2)
    rotations = random_rotations(20, torch.Generator().manual_seed(1))
    found = Projector(plane.frequencies, plane.radius_px, box).forward(volume[None], rotations)[..., 0]
    assert relative_error(found, exact_slices(volume, rotations, plane.frequencies)) < 0.015


def test_slicing_along_the_axes_reads_the_transform_itself() -> None:
    """At padding 1 the samples of an unrotated slice are voxels: only the window is in between."""
    box, radius = 16, 6
    volume = smooth_map(box, 1.2)
    plane = half_plane(box, radius)
    block = block_from_maps((volume * interpolation_window(box, 1))[None], radius, padding=1)
    grid = fourier_map(volume)
    kx, ky = plane.frequencies.T
    read = block[radius + 1, ky + radius + 1, kx, 0]
    torch.testing.assert_close(read, grid[box // 2, ky + box // 2, kx + box // 2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("box", [24, 25])
def test_round_trip_gives_the_map_over_the_window_squared(box: int) -> None:
    maps = torch.stack([smooth_map(box, 1.5, seed) for seed in (0, 1)])
    block = block_from_maps(maps, (box - 1) // 2)
    assert block.shape == (*block_shape((box - 1) // 2, 2), 2)
    back = maps_from_block(block, box) * interpolation_window(box, 2) ** 2
    assert relative_error(back, maps) < 1e-4


@pytest.mark.parametrize("box", [24, 25])
def test_inserted_slices_give_the_map_back(box: int) -> None:
    """Exact slices in, the map out: 0.022 of its norm is left inside, 0.039 without the correction."""
    volume = smooth_map(box, 1.5)
    radius = (box - 1) // 2
    plane = half_plane(box, radius)
    rotations = random_rotations(1500, torch.Generator().manual_seed(2))
    samples = exact_slices(volume, rotations, plane.frequencies).to(torch.complex64)[..., None]
    shape = block_shape(radius, 2)
    numerator = insert_block(samples, rotations, plane.frequencies, shape)
    denominator = insert_block(torch.ones(samples.shape), rotations, plane.frequencies, shape)
    sums = FourierSums(numerator, denominator, radius)
    found = solve_maps(sums, torch.full((radius + 2, 1), 1e-3), radius, box)[0]
    inside = radius_grid(box) < 0.35 * box
    found, volume = found - found[inside].mean(), volume - volume[inside].mean()
    assert relative_error(found[inside], volume[inside]) < 0.03
    scale = float(found[inside] @ volume[inside] / volume[inside].square().sum())
    # 1.1 % measured: no sample lies within one Fourier pixel of the zero frequency, so slow ramps are lost.
    assert scale == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("box", "radius"), [(16, 7), (17, 8), (16, 4)])
def test_block_by_products_agrees_with_block_from_maps(box: int, radius: int) -> None:
    maps = torch.randn(3, box, box, box, generator=torch.Generator().manual_seed(0))
    expected = block_from_maps(maps, radius)
    torch.testing.assert_close(block_by_products(maps, radius), expected, rtol=1e-4, atol=1e-4)

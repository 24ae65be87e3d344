"""Change of box, masks and working boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nunatak.core.fourier import fourier_map, half_plane, real_map
from nunatak.geometry.rotations import random_rotations
from nunatak.projection.operator import Projector
from nunatak.volumes.maps import (
    change_box,
    density_of_all,
    molecular_support,
    radius_grid,
    soft_sphere,
    working_box,
)

PAIRS = [(12, 20), (13, 20), (12, 21), (13, 21)]


def band_limited(box: int, limit: int) -> torch.Tensor:
    """A map without frequencies beyond a cube of half-width `limit`: it fits in any box above 2 limit."""
    volume = torch.randn(2, box, box, box, dtype=torch.float64, generator=torch.Generator().manual_seed(box))
    axis = (torch.arange(box) - box // 2).abs() <= limit
    keep = axis[:, None, None] & axis[None, :, None] & axis[None, None]
    return real_map(fourier_map(volume) * keep)


@pytest.mark.parametrize(("small", "large"), PAIRS)
def test_change_of_box_and_back_is_exact(small: int, large: int) -> None:
    maps = band_limited(small, 5)
    there = change_box(maps, large)
    assert there.shape == (2, large, large, large)
    torch.testing.assert_close(change_box(there, small), maps, rtol=0, atol=1e-12)
    assert change_box(maps, small) is maps


@pytest.mark.parametrize(("small", "large"), PAIRS)
def test_transforms_keep_their_values(small: int, large: int) -> None:
    """The transform of convention 4, divided by the box, is the same number on either box."""
    maps = band_limited(small, 5)
    ours, theirs = fourier_map(maps), fourier_map(change_box(maps, large))
    near = torch.arange(-5, 6)
    z, y, x = torch.meshgrid(near, near, near, indexing="ij")
    a, b = (t[:, z + t.shape[-1] // 2, y + t.shape[-1] // 2, x + t.shape[-1] // 2] for t in (ours, theirs))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_slices_do_not_depend_on_the_box() -> None:
    """Working boxes are smaller than the images': only interpolation may differ."""
    axis = np.arange(32) - 16.0
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = torch.from_numpy(np.exp(-((x - 3) ** 2 + y**2 + (z + 2) ** 2) / 18)).float()[None]
    plane, rotations = half_plane(32, 6), random_rotations(8, torch.Generator().manual_seed(0))
    whole, small = (
        Projector(plane.frequencies, 6, box).forward(change_box(volume, box), rotations) for box in (32, 18)
    )
    assert float((whole - small).norm() / whole.norm()) < 0.02


def test_a_change_of_box_resamples_the_same_density() -> None:
    """Every second voxel of a doubled box is a voxel of the small one, over the square of the factor."""
    maps = band_limited(12, 5)
    fine = change_box(maps, 24)
    # Twice as many voxels along the view, and the transform of an image is divided by twice the box.
    torch.testing.assert_close(fine[:, ::2, ::2, ::2] * 4, maps, rtol=0, atol=1e-12)


@pytest.mark.parametrize("box", [16, 17])
def test_soft_sphere(box: int) -> None:
    mask, radius = soft_sphere(box, 5.0, 2.0), radius_grid(box)
    assert radius[box // 2, box // 2, box // 2] == 0
    assert (mask[radius <= 5] == 1).all()
    assert (mask[radius >= 7] == 0).all()
    assert float(mask[box // 2, box // 2, box // 2 + 6]) == pytest.approx(0.5)


def test_working_box_has_room_and_small_factors() -> None:
    for radius in range(1, 130):
        box = working_box(radius)
        assert box % 2 == 0
        assert box >= 2 * (radius + 2)
        assert box <= 1.12 * 2 * (radius + 2) + 2
        rest = box
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        assert rest == 1


def test_the_support_holds_what_one_particle_in_ten_has_and_no_solvent() -> None:
    box = 24
    mean = 0.01 * torch.randn(box, box, box, generator=torch.Generator().manual_seed(0))
    mean[8:16, 8:16, 8:16] += 1.0
    mean[10:14, 10:14, 17:20] += 0.1
    support = molecular_support(mean)
    assert float(support[8:16, 8:16, 8:16].min()) == 1
    assert float(support[10:14, 10:14, 17:20].min()) == 1
    # Two voxels around are inside or at the edge, everything further away is not.
    assert float(support[:, :, :6].max()) == 0
    assert float(support[:, :, 22:].max()) == 0
    assert float(support.mean()) < 0.15


def test_a_part_that_one_particle_in_a_hundred_has_counts_as_a_tenth() -> None:
    """A share p of white latents: p of it is in the mean, (p - p^2)^1/2 in the component."""
    box, share = 32, 0.01
    body = soft_sphere(box, 6.0)
    part = soft_sphere(box, 3.0).roll(11, 2)
    maps = torch.stack([body + share * part, (share - share**2) ** 0.5 * part])
    density = density_of_all(maps)
    assert float(density[16, 16, 27]) == pytest.approx(0.1, abs=0.02)
    assert float(molecular_support(density)[16, 16, 27]) == 1
    assert float(molecular_support(maps[0])[16, 16, 27]) == 0


def test_no_map_fits_in_any_box() -> None:
    assert change_box(torch.zeros(0, 8, 8, 8), 12).shape == (0, 12, 12, 12)

"""Polar planes: turning a view is a shift of indices, and its adjoint."""

from __future__ import annotations

import math

import pytest
import torch
from _views import molecule_maps

from nunatak.core.fourier import half_plane, sample_images
from nunatak.geometry.so3_grid import in_plane_matrices, rotation_grid
from nunatak.projection.gridding import block_from_maps
from nunatak.projection.operator import Projector, slice_block
from nunatak.search.polar import (
    PolarPlane,
    fold_turns,
    fold_weights,
    polar_plane,
    polar_samples,
    polar_transform,
    turn_all,
    turn_weights,
)


@pytest.mark.parametrize("in_plane", [6, 24])
@pytest.mark.parametrize("radius", [1, 5, 12])
def test_areas_sum_to_that_of_the_half_plane(radius: int, in_plane: int) -> None:
    """Half the annulus from 1/2 to radius + 1/2, ring by ring pi r."""
    plane = polar_plane(radius, in_plane)
    assert float(plane.areas.sum()) == pytest.approx(0.5 * math.pi * ((radius + 0.5) ** 2 - 0.25), rel=1e-5)
    rings = torch.zeros(radius + 1).index_add_(0, plane.rings, plane.areas)
    torch.testing.assert_close(rings, math.pi * torch.arange(radius + 1.0))


def test_samples_lie_on_half_rings_and_are_dense_enough() -> None:
    plane = polar_plane(9, 12)
    radius = plane.frequencies.norm(dim=1)
    torch.testing.assert_close(radius, plane.rings.double())
    x, y = plane.frequencies.T
    assert ((y > 0) | ((y.abs() < 1e-9) & (x > 0))).all()
    counts = torch.bincount(plane.rings)[1:]
    assert (2 * counts >= 2 * math.pi * torch.arange(1, 10) - 1e-9).all()
    assert (2 * counts % 12 == 0).all()


def test_a_smaller_radius_is_a_prefix() -> None:
    large, small = polar_plane(9, 12), polar_plane(5, 12)
    cut = large.within(5)
    assert len(cut) == large.count_within(5) == len(small)
    for name in ("frequencies", "rings", "areas", "turns", "mates"):
        torch.testing.assert_close(getattr(cut, name), getattr(small, name))
    assert cut.in_plane_count == 12


def test_turned_samples_lie_where_turned_frequencies_do() -> None:
    plane = polar_plane(6, 12)
    for step in range(12):
        turn = in_plane_matrices(torch.tensor(step * 2 * math.pi / 12, dtype=torch.float64))[:2, :2]
        # Image axes turned by psi: the sample at k reads the unturned slice at R^T k.
        expected = plane.frequencies @ turn
        found = plane.frequencies[plane.turns[step]]
        found = torch.where(plane.mates[step][:, None], -found, found)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("order", [0, 1])
def test_turn_all_is_slicing_at_every_rotation_of_the_grid(order: int) -> None:
    grid = rotation_grid(order)
    plane = polar_plane(5, grid.in_plane_count)
    block = block_from_maps(molecule_maps(16), 5)
    base = slice_block(block, grid.directions, plane.frequencies)[..., 0]
    turned = turn_all(base, plane).flatten(0, 1)
    slices = slice_block(block, grid.rotations(), plane.frequencies)[..., 0]
    torch.testing.assert_close(
        turned, torch.cat([slices.real, slices.imag], -1), rtol=0, atol=1e-4 * float(slices.abs().max())
    )
    power = turn_weights(base.abs() ** 2, plane).flatten(0, 1)
    torch.testing.assert_close(power, slices.abs() ** 2, rtol=0, atol=1e-4 * float(power.max()))


def inner(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first.double() * second.double()).sum())


def plane_and_generator() -> tuple[PolarPlane, torch.Generator]:
    return polar_plane(5, 12), torch.Generator().manual_seed(2)


def test_fold_turns_is_the_adjoint_of_turn_all() -> None:
    plane, generator = plane_and_generator()
    slices = torch.randn(3, len(plane), dtype=torch.complex64, generator=generator)
    features = torch.randn(3, 12, 2 * len(plane), generator=generator)
    folded = fold_turns(features, plane)
    left = inner(turn_all(slices, plane), features)
    right = inner(slices.real, folded.real) + inner(slices.imag, folded.imag)
    assert left == pytest.approx(right, rel=1e-5)


def test_fold_weights_is_the_adjoint_of_turn_weights() -> None:
    plane, generator = plane_and_generator()
    weights = torch.randn(3, len(plane), generator=generator)
    turned = torch.randn(3, 12, len(plane), generator=generator)
    assert inner(turn_weights(weights, plane), turned) == pytest.approx(
        inner(weights, fold_weights(turned, plane)), rel=1e-5
    )


@pytest.mark.parametrize("box", [24, 25])
def test_polar_samples_interpolate_what_the_half_plane_holds(box: int) -> None:
    """From Cartesian samples of a view, which lack its mean, to polar ones at every ring."""
    radius, grid = 9, rotation_grid(0)
    volume = molecule_maps(box, width_px=1.2, spread=0.08)
    cartesian, plane = half_plane(box, radius + 2), polar_plane(radius, grid.in_plane_count)
    samples = Projector(cartesian.frequencies, radius + 2, box).forward(volume, grid.directions)[..., 0]
    found = polar_samples(samples, cartesian, polar_transform(plane, box))
    expected = slice_block(block_from_maps(volume, radius), grid.directions, plane.frequencies)[..., 0]
    for ring in range(1, radius + 1):
        on = plane.rings == ring
        # 0.005 to 0.03 measured, the slices' own interpolation; 0.04 to 0.25 with the mean left at 0.
        assert float((found - expected)[:, on].norm() / expected[:, on].norm()) < 0.035


def test_polar_transform_is_the_transform_of_images_at_the_lattice() -> None:
    """On points of the lattice, of which the axes' are some, it is sample_images to rounding."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(2, 14, 14, generator=generator)
    plane = polar_plane(4, 12)
    flat = images.reshape(2, -1)
    transform = polar_transform(plane, 14)
    found = torch.complex(flat @ transform.real, flat @ transform.imag)
    lattice = half_plane(14, 4)
    exact = sample_images(images, lattice)
    whole = {tuple(k): j for j, k in enumerate(lattice.frequencies.tolist())}
    for j, k in enumerate(plane.frequencies.tolist()):
        if all(abs(c - round(c)) < 1e-9 for c in k):
            kx, ky = round(k[0]), round(k[1])
            expected = exact[:, whole[kx, ky]] if (kx, ky) in whole else exact[:, whole[-kx, -ky]].conj()
            torch.testing.assert_close(found[:, j], expected, rtol=1e-4, atol=1e-5)

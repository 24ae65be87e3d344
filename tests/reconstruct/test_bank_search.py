"""Search through a bank against the volume evaluated at every pose of every image."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nunatak.core.fourier import half_plane
from nunatak.geometry.rotations import geodesic_deg, random_rotations
from nunatak.particles.cache import ImageCache
from nunatak.reconstruct.bank_search import (
    BankConfig,
    bank_for,
    reference_search,
    search_with_bank,
)
from nunatak.reconstruct.model import images_within
from nunatak.search.hierarchical import HierarchicalConfig
from nunatak.volumes.coordinate_field import CoordinateField
from nunatak.volumes.field_config import CoordinateConfig, FieldShape, GridConfig
from nunatak.volumes.grid_field import GridField

BOX, RADIUS, COUNT = 20, 8, 16
FALLING = torch.exp(-torch.arange(RADIUS + 1) / 3)
SEARCH = HierarchicalConfig(l_start=5, l_end=RADIUS, n_iter=2, t_extent=2.0, t_n_grid=2, base_healpy=2)


def network() -> CoordinateField:
    config = CoordinateConfig(features_per_axis=8, width=16, layers=1, feature_sd=1.2)
    generator = torch.Generator().manual_seed(5)
    return CoordinateField(FieldShape(BOX, RADIUS, 2), config, FALLING, generator)


def grid() -> GridField:
    generator = torch.Generator().manual_seed(5)
    field = GridField(FieldShape(BOX, RADIUS, 2), GridConfig(rank=3), FALLING, generator)
    with torch.no_grad():
        smooth = torch.randn(4, BOX, BOX, BOX, generator=generator)
        field.voxels.copy_(smooth * torch.tensor([1.0, 0.3, 0.3, 0.3]).view(4, 1, 1, 1))
    return field


def images_of(field, noise: float = 0.2) -> tuple[ImageCache, Tensor, Tensor, Tensor]:
    """Noisy images of a field itself at random poses and latents, without a CTF."""
    generator = torch.Generator().manual_seed(1)
    plane = half_plane(BOX, RADIUS)
    rotations, shifts = random_rotations(COUNT, generator), torch.randn(COUNT, 2, generator=generator) / 2
    latents = 0.5 * torch.randn(COUNT, 2, generator=generator)
    with torch.no_grad():
        clean = field.slices(rotations, plane.frequencies.float(), latents)
    angle = 2 * math.pi / BOX * (shifts @ plane.frequencies.float().T)
    sd = noise * float(clean.abs().square().mean().sqrt())
    drawn = torch.randn(clean.shape, dtype=torch.complex64, generator=generator)
    samples = clean * torch.polar(torch.ones_like(angle), angle) + sd * drawn
    power = torch.full((RADIUS + 1,), sd**2)
    cache = ImageCache(samples, torch.ones(samples.shape), plane, 1.0, power, torch.zeros(0).long(), None)
    return cache, rotations, shifts, latents


@pytest.mark.parametrize("make", [network, grid], ids=["network", "grid"])
def test_the_poses_are_those_of_the_exact_search(make) -> None:
    field = make()
    cache, rotations, _, latents = images_of(field)
    closeness = BankConfig(latents=COUNT, rank=12, cell=2)
    bank = bank_for(field, latents, RADIUS, closeness)
    rows = torch.arange(COUNT)
    found = search_with_bank(bank, cache, rows, cache.background_power, (SEARCH, closeness))
    exact = reference_search(
        field, latents, images_within(cache, rows, RADIUS), cache.background_power, SEARCH
    )
    step_deg = 60 / 2 ** (SEARCH.base_healpy + SEARCH.n_iter)
    apart = geodesic_deg(found.rotations, exact.rotations)
    # The exact search ends on its grid, the other one does not: they are as far apart as a cell is wide.
    assert float((apart < 1.5 * step_deg).float().mean()) >= 0.9
    errors = [float(geodesic_deg(poses.rotations, rotations).median()) for poses in (found, exact)]
    assert errors[0] <= 1.05 * errors[1]
    assert errors[1] < step_deg
    assert float((found.shifts_px - exact.shifts_px)[apart < 1.5 * step_deg].norm(dim=1).median()) < 0.3


def test_rows_come_back_in_their_order() -> None:
    field = grid()
    cache, _, _, latents = images_of(field)
    closeness = BankConfig(latents=8, rank=4, cell=COUNT)
    bank, coordinates = bank_for(field, latents, RADIUS, closeness)
    rows = torch.tensor([13, 2, 9, 5])
    some = search_with_bank(
        (bank, coordinates[:1].expand(4, -1)), cache, rows, cache.background_power, (SEARCH, closeness)
    )
    one = search_with_bank(
        (bank, coordinates[:1]), cache, rows[2:3], cache.background_power, (SEARCH, closeness)
    )
    torch.testing.assert_close(some.rotations[2], one.rotations[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(some.scores[2], one.scores[0], rtol=1e-3, atol=1e-3)

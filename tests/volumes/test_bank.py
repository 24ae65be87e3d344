"""The bank of a trained volume: exact where the volume is of low rank, close where it is not."""

from __future__ import annotations

import torch
from test_fields import SHAPE, coordinate_field, grid_field

from nunatak.volumes.bank import bank_coordinates, volume_bank


def relative_error(field, bank, latents) -> float:
    coordinates = bank_coordinates(bank, field, latents)
    made = torch.stack([bank.at(a) for a in coordinates])
    true = field.maps(latents, bank.radius_px)
    return float((made - true).norm() / (true - true.mean(0)).norm())


def test_a_mixture_of_few_maps_is_its_own_bank() -> None:
    """Five maps mixed by a network: five components say all, at latents that were not rasterised too."""
    field, generator = grid_field(), torch.Generator().manual_seed(3)
    bank = volume_bank(field, torch.randn(12, 3, generator=generator), 5, 8)
    assert bank.rank == 5
    flat = bank.maps[1:].flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(5), atol=1e-4, rtol=0)
    assert (bank.spread.diff() <= 0).all()
    assert relative_error(field, bank, torch.randn(7, 3, generator=generator)) < 1e-3


def test_more_components_stand_closer_to_a_network() -> None:
    field, generator = coordinate_field(), torch.Generator().manual_seed(3)
    rasterised = torch.randn(40, 3, generator=generator)
    other = torch.randn(20, 3, generator=generator)
    errors = [relative_error(field, volume_bank(field, rasterised, 5, rank), other) for rank in (1, 4, 16)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.15


def test_a_field_that_does_not_vary_has_no_components() -> None:
    field = grid_field()
    with torch.no_grad():
        field.voxels[1:] = 0
    latents = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    bank = volume_bank(field, latents, 5, 4)
    assert bank.rank == 0
    assert bank_coordinates(bank, field, latents).shape == (6, 0)
    torch.testing.assert_close(bank.at(torch.zeros(0)), field.maps(latents[:1], 5)[0], atol=1e-4, rtol=1e-4)
    assert SHAPE.radius_px > bank.radius_px

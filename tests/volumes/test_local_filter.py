"""The local filter: bands add up, solvent noise goes, what is there stays, halves are weighed as halves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nunatak.volumes.fsc import shell_correlation
from nunatak.volumes.local_filter import band_filters, local_correlation, locally_filtered
from nunatak.volumes.maps import radius_grid

BOX = 48


def object_and_halves(noise_sd: float) -> tuple[Tensor, Tensor]:
    """A rough ball in one corner of an empty box, and two noisy copies."""
    draw = torch.Generator().manual_seed(5)
    axis = torch.arange(BOX) - BOX // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    inside = ((x - 6) ** 2 + (y + 4) ** 2 + z**2 < 81).float()
    truth = inside * torch.randn(BOX, BOX, BOX, generator=draw)
    noise = noise_sd * torch.randn(2, BOX, BOX, BOX, generator=draw)
    return truth, truth + noise


@pytest.mark.parametrize(("radius", "width"), [(20, 5.0), (17, 3.0), (4, 5.0), (2, 5.0)])
def test_bands_add_up_inside_the_radius_and_vanish_beyond(radius: int, width: float) -> None:
    total = torch.stack(list(band_filters(BOX, radius, width, torch.device("cpu")))).sum(0)
    inside = radius_grid(BOX) <= radius
    torch.testing.assert_close(total, inside.float())


def test_maps_without_noise_are_left_as_they_are() -> None:
    truth, _ = object_and_halves(0.0)
    kept = locally_filtered(truth[None], truth.expand(2, 1, -1, -1, -1), 20, whole=True)
    assert float(shell_correlation(kept[0], truth)[1:20].min()) > 0.99


def test_noise_goes_where_there_is_nothing_and_the_object_stays() -> None:
    """Against truth the filtered mean is better in every band than the mean itself, by a good margin."""
    truth, halves = object_and_halves(1.0)
    mean = halves.mean(0)
    kept = locally_filtered(mean[None], halves[:, None], 20, whole=True)[0]
    away = radius_grid(BOX) > 18
    assert float(kept[away].norm()) < 0.3 * float(mean[away].norm())
    before = shell_correlation(mean, truth)[4:19]
    after = shell_correlation(kept, truth)[4:19]
    assert float((after - before).min()) > 0.05
    assert float(after.mean()) > float(before.mean()) + 0.15


def test_a_half_is_weighed_by_less_than_the_whole() -> None:
    _, halves = object_and_halves(1.0)
    pair = halves[:, None]
    as_halves = locally_filtered(pair, pair, 20, whole=False)
    as_whole = locally_filtered(pair, pair, 20, whole=True)
    assert as_halves.shape == pair.shape
    assert 0.5 < float(as_halves.norm() / as_whole.norm()) < 0.95


def test_local_correlation_tells_places_apart() -> None:
    _, halves = object_and_halves(0.5)
    found = local_correlation(halves[0][None], halves[1][None], 2.5)[0]
    assert float(found[BOX // 2, BOX // 2 - 4, BOX // 2 + 6]) > 0.6
    assert float(found[radius_grid(BOX) > 19].mean()) < 0.15
    assert ((found >= 0) & (found <= 1)).all()


def test_unrelated_halves_leave_almost_nothing() -> None:
    draw = torch.Generator().manual_seed(8)
    halves = torch.randn(2, 1, BOX, BOX, BOX, generator=draw)
    kept = locally_filtered(halves.mean(0), halves, 20, whole=True)
    reference = locally_filtered(halves.mean(0), halves.mean(0).expand(2, 1, -1, -1, -1), 20, whole=True)
    assert float(kept.norm()) < 0.35 * float(reference.norm())

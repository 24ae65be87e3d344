"""The engine's shell correlation and resolution, by clause 11 and against the metrics' own."""

from __future__ import annotations

import math

import pytest
import torch

from nunatak.core.fourier import fourier_map, real_map
from nunatak.metrics.fsc import fourier_shell_correlation
from nunatak.volumes.fsc import (
    corrected_correlation,
    first_shell_below,
    molecular_correlation,
    resolution_A,
    shell_correlation,
    with_random_phases,
)
from nunatak.volumes.maps import radius_grid


def white_maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("box", [16, 17])
def test_shell_correlation_is_that_of_the_metrics(box: int) -> None:
    """Two implementations, numpy over half a transform and torch over the whole, give one curve."""
    first = white_maps(box, box, box)
    second = first + white_maps(box, box, box, seed=1)
    found = shell_correlation(first, second)
    expected = torch.from_numpy(fourier_shell_correlation(first.numpy(), second.numpy())).float()
    shared = min(len(found), len(expected))
    assert len(found) == box // 2
    torch.testing.assert_close(found[1:shared], expected[1:shared], rtol=1e-3, atol=1e-4)


def test_shell_correlation_of_many_maps_at_once() -> None:
    maps = white_maps(3, 12, 12, 12)
    together = shell_correlation(maps, maps.flip(0))
    one_by_one = torch.stack([shell_correlation(a, b) for a, b in zip(maps, maps.flip(0), strict=True)])
    torch.testing.assert_close(together, one_by_one)


def test_shell_correlation_does_not_see_scale_and_sees_sign() -> None:
    volume = white_maps(12, 12, 12)
    torch.testing.assert_close(shell_correlation(volume, 3 * volume), torch.ones(6))
    torch.testing.assert_close(shell_correlation(volume, -volume)[1:], -torch.ones(5))
    assert torch.isfinite(shell_correlation(volume, torch.zeros_like(volume))).all()


def test_shell_correlation_of_a_signal_in_noise_is_its_share_of_power() -> None:
    """Halves s + n1 and s + n2 agree by snr / (1 + snr): the figure the priors are made from."""
    box, generator = 32, torch.Generator().manual_seed(3)
    shells = radius_grid(box)
    shape = torch.exp(-shells / 8)
    draw = lambda: fourier_map(torch.randn(box, box, box, generator=generator))  # noqa: E731
    signal = draw() * shape
    halves = [real_map(signal + 0.5 * draw()) for _ in range(2)]
    found = shell_correlation(*halves)
    radius = torch.arange(box // 2.0)
    snr = torch.exp(-radius / 8) ** 2 / 0.25
    # A shell of n independent samples errs by about 1 / sqrt(n).
    counts = torch.bincount(shells.round().long().flatten())[: box // 2] / 2
    assert ((found - snr / (1 + snr)).abs()[3:] < 4 / counts[3:].sqrt()).all()


def test_resolution_interpolates_the_first_crossing() -> None:
    curve = torch.tensor([1.0, 1.0, 0.9, 0.5, 0.1, 0.0, 0.9])
    assert first_shell_below(curve, 0.3) == 4
    # Half way from 0.5 at shell 3 to 0.1 at shell 4; what rises again later does not count.
    assert resolution_A(curve, 100.0, 0.3) == pytest.approx(100 / 3.5)
    assert resolution_A(curve, 100.0, 0.5 + 1e-6) == pytest.approx(100 / 3, rel=1e-4)


def test_resolution_at_the_ends_of_a_curve() -> None:
    assert resolution_A(torch.tensor([1.0, 0.1, 0.9]), 100.0) is None
    assert resolution_A(torch.ones(9), 100.0) == pytest.approx(100 / 8)
    assert first_shell_below(torch.ones(9), 0.143) == 9
    assert not math.isnan(resolution_A(torch.tensor([1.0, 0.5, 0.143, 0.143, 0.1]), 100.0))


def test_noise_around_a_molecule_does_not_hide_that_halves_agree_on_it() -> None:
    """Detail of white spectrum in a blob, as strong noise everywhere: 0.05 becomes 0.12 or more."""
    box = 48
    blob = torch.exp(-0.5 * (radius_grid(box) / 4) ** 2)
    molecule = 30 * blob + (radius_grid(box) < 7) * white_maps(box, box, box, seed=2)
    pair = torch.stack([molecule + white_maps(box, box, box, seed=seed) for seed in (3, 4)])
    everywhere, inside = shell_correlation(*pair), molecular_correlation(pair)
    assert float(everywhere[7:20].max()) < 0.08
    assert float(inside[7:20].min()) > 0.11
    assert float(inside[8:20].max()) < 0.65


def test_noise_alone_does_not_agree_in_a_molecule_of_its_own_making() -> None:
    pair = white_maps(2, 32, 32, 32)
    assert float(molecular_correlation(pair)[6:].abs().max()) < 0.15


def test_random_phases_keep_power_and_what_lies_below() -> None:
    maps = white_maps(2, 24, 24, 24)
    mixed = with_random_phases(maps, 6, torch.Generator().manual_seed(1))
    below = (radius_grid(24).round() < 6).expand(2, -1, -1, -1)
    before, after = fourier_map(maps), fourier_map(mixed)
    torch.testing.assert_close(after[below], before[below], rtol=1e-4, atol=1e-4)
    inner = radius_grid(24) < 11
    torch.testing.assert_close(after.abs()[:, inner], before.abs()[:, inner], rtol=1e-3, atol=1e-3)
    assert float(shell_correlation(maps[0], mixed[0])[7:].abs().max()) < 0.2


def test_what_a_mask_makes_agree_is_taken_out() -> None:
    """Halves that share nothing beyond shell 10, in a mask as narrow as what they share: 0.63 and 0.13."""
    box = 48
    shape = torch.exp(-0.5 * (radius_grid(box) / 3) ** 2) + 0.3 * (radius_grid(box) < 5)
    shared = real_map(fourier_map(30 * shape) * (radius_grid(box) <= 10))
    pair = shared + 0.1 * white_maps(2, box, box, box, seed=5)
    masked = molecular_correlation(pair)
    corrected = corrected_correlation(pair, torch.Generator().manual_seed(0))
    torch.testing.assert_close(corrected[:8], masked[:8])
    assert float(masked[13:20].mean()) > 0.5
    assert float(corrected[13:20].mean().abs()) < 0.25

"""Maximisation and its priors: Wiener filters from shell correlations, half-sets, noise from residuals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from _small_runs import small_context, small_set, true_model

from nunatak.geometry.rotations import geodesic_deg, rotation_from_vector
from nunatak.geometry.so3_grid import tangent_offsets
from nunatak.reconstruct.model import (
    SearchPlan,
    expect,
    full_correlation,
    half_sums,
    images_within,
    maximize,
    noise_from_residuals,
    smooth_correlation,
)
from nunatak.reconstruct.passes import finish_radius
from nunatak.reconstruct.solving import COMPARED, LAST, MapFilter, correlation_ridge
from nunatak.search.local import LocalPrior
from nunatak.volumes.fsc import first_shell_below, shell_correlation
from nunatak.volumes.maps import change_box, radius_grid, soft_sphere
from nunatak.volumes.wiener import block_shells, empty_sums, solve_blocks

STAY = torch.zeros(1, 3)


@pytest.mark.parametrize("channels", [1, 2])
def test_ridge_filters_with_the_share_of_signal_that_a_correlation_says(channels: int) -> None:
    """With even weights w the solution is F N / w: the Wiener filter of a signal-to-noise of F / (1 - F)."""
    radius, weight = 6, 50.0
    sums = empty_sums(radius, channels)
    sums.numerator.fill_(3 + 4j)
    sums.denominator[..., 0] = sums.denominator[..., -1] = weight
    f = torch.tensor([0.99, 0.9, 0.7, 0.5, 0.2, 0.05, 0.01]).expand(channels, 7)
    solved = solve_blocks(sums, correlation_ridge(sums, f), radius)
    shells = block_shells(radius)
    for shell in range(radius + 1):
        expected = float(f[0, shell]) * (3 + 4j) / weight
        found = solved[shells == shell]
        torch.testing.assert_close(found, torch.full_like(found, expected), rtol=1e-3, atol=1e-6)


def test_ridge_shuts_shells_that_do_not_agree_or_were_not_compared() -> None:
    sums = empty_sums(5, 1)
    sums.numerator.fill_(1.0)
    sums.denominator.fill_(1.0)
    solved = solve_blocks(sums, correlation_ridge(sums, torch.tensor([[1.0, 1.0, -0.3, 0.5]])), 5)
    shells = block_shells(5)
    assert solved[shells == 1].real.min() > 0.99
    assert solved[shells == 2].abs().max() < 2e-3
    assert solved[shells == 5].abs().max() < 2e-3


def test_wiener_ridge_minimises_the_error_of_a_noisy_map() -> None:
    """Signal of known power in noise of known power: no multiple of the ridge does better."""
    generator = torch.Generator().manual_seed(0)
    radius, weight = 7, 20.0
    sums = empty_sums(radius, 1)
    shells = block_shells(radius)
    power = 0.2 * torch.exp(-shells.float() / 2)[..., None]
    draw = lambda: torch.randn(sums.numerator.shape, dtype=torch.complex64, generator=generator)  # noqa: E731
    signal = power.sqrt() * draw()
    sums.denominator.fill_(weight)
    sums = replace(sums, numerator=weight * signal + weight**0.5 * draw())
    snr = 0.2 * torch.exp(-torch.arange(8.0) / 2) * weight
    ridge = correlation_ridge(sums, (snr / (1 + snr))[None])
    inside = shells <= radius

    def error(factor: float) -> float:
        return float((solve_blocks(sums, factor * ridge, radius) - signal)[inside].abs().square().sum())

    assert error(1.0) < min(error(0.5), error(2.0))


def test_full_correlation_is_that_of_twice_the_data() -> None:
    snr = torch.tensor([[0.01, 0.5, 3.0]])
    torch.testing.assert_close(full_correlation(snr / (1 + snr)), 2 * snr / (1 + 2 * snr))
    assert full_correlation(torch.tensor([-0.2])).item() == 0


def test_smoothing_a_correlation_keeps_its_length_and_its_constants() -> None:
    curve = torch.rand(3, 9, generator=torch.Generator().manual_seed(0))
    found = smooth_correlation(curve)
    assert found.shape == curve.shape
    torch.testing.assert_close(found[:, 1:-1], (curve[:, :-2] + curve[:, 1:-1] + curve[:, 2:]) / 3)
    torch.testing.assert_close(smooth_correlation(torch.full((1, 5), 0.4)), torch.full((1, 5), 0.4))


def test_images_within_a_radius_are_a_prefix() -> None:
    cache = small_set()[0]
    images = images_within(cache, torch.tensor([4, 2]), 5)
    assert images.plane.radius_px == 5
    assert images.plane.shells.max() <= 5
    assert images.samples.shape == (2, len(images.plane)) == images.transfer.shape
    assert torch.equal(images.samples[0], cache.samples[4, : len(images.plane)])


def test_sums_of_half_sets_hold_each_particle_once() -> None:
    cache, truth = small_set()
    context = small_context(cache)
    model = true_model(context, truth, 6)
    first, second = half_sums(model, cache, 6)
    swapped = half_sums(replace(model, halves=1 - model.halves), cache, 6)
    torch.testing.assert_close(first.numerator, swapped[1].numerator, rtol=1e-4, atol=1e-3)
    alone = half_sums(replace(model, halves=torch.zeros_like(model.halves)), cache, 6)
    assert not alone[1].denominator.any()
    whole = first + second
    torch.testing.assert_close(alone[0].numerator, whole.numerator, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(alone[0].denominator, whole.denominator, rtol=1e-3, atol=1e-2)


def test_maps_from_true_poses_are_the_true_map() -> None:
    """80 images at an SNR of 1: FSC with the truth 0.97 at shell 4 and 0.88 at shell 6 measured."""
    cache, truth = small_set()
    model = true_model(small_context(cache), truth, 7)
    found = maximize(model, cache, 7, 0.42, joined=True)
    assert found.maps.shape[:2] == (1, 1)
    box = found.maps.shape[-1]
    true_map = change_box(truth.volumes[0], box) * soft_sphere(box, 0.42 * box, 2.0)
    curve = shell_correlation(found.maps[0, 0], true_map)
    assert (curve[1:5] > 0.95).all()
    assert (curve[5:7] > 0.8).all()
    halves = maximize(model, cache, 7, 0.42, joined=False)
    assert halves.maps.shape[:2] == (2, 1)
    between = shell_correlation(halves.maps[0, 0], halves.maps[1, 0])
    torch.testing.assert_close(halves.correlation[0], found.correlation[0])
    assert (between[1:6] > 0.8).all()


def test_expectation_finds_poses_again_and_lowers_the_residual() -> None:
    """From poses 6 degrees and half a pixel off to the median error that noise allows."""
    cache, truth = small_set()
    context = small_context(cache)
    model = maximize(true_model(context, truth, 7), cache, 7, 0.42, joined=True)
    generator = torch.Generator().manual_seed(1)
    turns = tangent_offsets(6.0)[1:]
    picked = torch.randint(len(turns), (80,), generator=generator)
    off = replace(
        model.candidates,
        rotations=rotation_from_vector(turns[picked]).float() @ truth.rotations,
        shifts_px=model.candidates.shifts_px + 0.4 * torch.randn(80, 2, generator=generator),
    )
    plan = SearchPlan(7, tangent_offsets(6.0), 3, LocalPrior())
    done: list[int] = []
    moved, power = expect(replace(model, candidates=off), cache, plan, done.append)
    angle = geodesic_deg(moved.candidates.rotations, truth.rotations)
    before = geodesic_deg(off.rotations, truth.rotations)
    # From 8.5 to 3.4 degrees measured.
    assert float(angle.median()) < 5 < 8 < float(before.median())
    assert done[-1] == 80
    assert power.shape == (80, 8)
    stayed, at_start = expect(
        replace(model, candidates=off), cache, SearchPlan(7, STAY, 0, LocalPrior(pose=False))
    )
    assert float(power.sum()) < float(at_start.sum())
    assert (moved.log_evidence > stayed.log_evidence - 1e-2).all()
    torch.testing.assert_close(stayed.candidates.rotations, off.rotations)


def test_particles_are_held_against_the_map_of_their_own_half() -> None:
    cache, truth = small_set()
    model = maximize(true_model(small_context(cache), truth, 6), cache, 6, 0.42, joined=True)
    one_blank = replace(model, maps=torch.cat([model.maps, torch.zeros_like(model.maps)]))
    plan = SearchPlan(6, STAY, 0, LocalPrior(pose=False))
    whole, _ = expect(model, cache, plan)
    halved, power = expect(one_blank, cache, plan)
    first = model.halves == 0
    torch.testing.assert_close(halved.log_evidence[first], whole.log_evidence[first], rtol=1e-4, atol=1e-2)
    assert (halved.log_evidence[~first] < whole.log_evidence[~first]).float().mean() > 0.95
    # Nothing is explained by an empty map: the residual is the image.
    count = cache.plane.count_within(6)
    torch.testing.assert_close(
        power[~first].sum(1), cache.samples[~first, :count].abs().square().sum(1), rtol=1e-4, atol=1e-2
    )
    assert torch.equal(halved.candidates.rows, torch.arange(80))


def test_noise_is_the_residual_per_sample_and_unseen_shells_stay() -> None:
    cache = small_set()[0]
    counts = torch.bincount(cache.plane.shells)
    variance = torch.linspace(1, 2, 6)
    power = (counts[:6] * variance)[None].repeat(len(cache), 1)
    found = noise_from_residuals(power, cache, torch.full((8,), 9.0))
    torch.testing.assert_close(found[1:6], variance[1:])
    assert found[6:].tolist() == [9.0, 9.0]
    assert found[0] == found[1]


def test_last_maps_reach_as_far_as_half_sets_agree_not_as_far_as_the_maps_at_hand() -> None:
    cache, truth = small_set(particles=300, box_px=32, snr=1.0)
    context = small_context(cache)
    short = maximize(true_model(context, truth, 4), cache, 4, context.mask_fraction, False, COMPARED)
    assert first_shell_below(short.correlation[0], 0.143) >= short.radius_px
    far = maximize(short, cache, context.limit_px, context.mask_fraction, False, COMPARED)
    fallen = first_shell_below(far.correlation[0], 0.143)
    assert fallen > 4 + 8  # what the maps at hand and the margin alone would allow
    assert finish_radius(short, context) == min(fallen + 8, context.limit_px)


def test_filtered_components_are_zero_in_the_solvent_and_compared_ones_are_not() -> None:
    cache, truth = small_set(300, 24, 0.5)
    context = small_context(cache)
    model = true_model(context, truth, 8, 1)
    latents = torch.randn(300, 1, generator=torch.Generator().manual_seed(0))
    model = replace(model, candidates=replace(model.candidates, latents=latents))
    filtered = maximize(model, cache, 8, 0.48, True).maps[0]
    plain = maximize(model, cache, 8, 0.48, True, COMPARED).maps[0]
    box = filtered.shape[-1]
    solvent = (radius_grid(box) > 0.42 * box) & (radius_grid(box) < 0.46 * box)
    assert float((filtered[1][solvent] == 0).float().mean()) > 0.9
    assert float(filtered[0][solvent].abs().max()) > 0
    assert float(plain[1][solvent].abs().min()) > 0


def test_last_maps_are_nearer_to_the_truth_as_dense_and_empty_around_the_molecule() -> None:
    """Of latents that mean nothing components hold noise alone. FSC means 0.853 and 0.890 found."""
    cache, truth = small_set(300, 32, 0.1)
    context = small_context(cache)
    model = true_model(context, truth, 15, 4)
    latents = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    model = replace(model, candidates=replace(model.candidates, latents=latents))
    weak, last = (maximize(model, cache, 15, 0.48, True, kept).maps[0] for kept in (MapFilter(1, 2), LAST))
    true_map = change_box(truth.volumes[0], weak.shape[-1])
    areas = [float(shell_correlation(maps[0], true_map).clamp(min=0).mean()) for maps in (weak, last)]
    assert areas[1] > areas[0] + 0.03
    density = [float((maps[0] * true_map).sum() / true_map.square().sum()) for maps in (weak, last)]
    assert 0.95 < density[1] / density[0] < 1.05
    box = last.shape[-1]
    solvent = (radius_grid(box) > 0.42 * box) & (radius_grid(box) < 0.46 * box)
    assert float((last[0][solvent] == 0).float().mean()) > 0.9


def test_the_last_map_of_a_rigid_molecule_is_not_cut() -> None:
    cache, truth = small_set(300, 24, 0.5)
    last = maximize(true_model(small_context(cache), truth, 8), cache, 8, 0.48, True, LAST).maps[0, 0]
    box = last.shape[-1]
    solvent = (radius_grid(box) > 0.42 * box) & (radius_grid(box) < 0.46 * box)
    assert float((last[solvent] == 0).float().mean()) < 0.1

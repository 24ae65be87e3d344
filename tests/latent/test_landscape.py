"""Smooth functions of the latent, and the posterior of particles over the places where particles lie."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy.stats import spearmanr

from nunatak.latent.landscape import WIDTH_IN_NOISE, Information, landscape_of, place
from nunatak.latent.subspace import Gauge, LatentPosterior

COUNT = 3000


def arc(length: float = 20.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, LatentPosterior]:
    """Places along a half circle in the plane, in units of the noise; the points; noisy latents of them."""
    generator = torch.Generator().manual_seed(seed)
    along = torch.rand(COUNT, generator=generator)
    radius = length / torch.pi
    points = radius * torch.stack([torch.cos(torch.pi * along), torch.sin(torch.pi * along)], 1)
    noisy = points + torch.randn(COUNT, 2, generator=generator)
    return along, points, LatentPosterior(noisy, torch.eye(2).expand(COUNT, 2, 2).clone())


def draw(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_functions_are_white_and_the_first_goes_along_the_curve() -> None:
    along, _, posterior = arc()
    landscape = landscape_of(posterior, 5, draw())
    values = landscape.functions(posterior.means)
    assert values.shape == (COUNT, 5)
    assert float(values.mean(0).abs().max()) < 1e-3
    assert float((values.std(0) - 1).abs().max()) < 1e-3
    # Nearly orthogonal: singular vectors of memberships, of which those in the nodes are all.
    assert float((torch.corrcoef(values.T) - torch.eye(5)).abs().max()) < 0.2
    assert abs(spearmanr(values[:, 0], along).statistic) > 0.95


def test_more_functions_follow_the_curve_more_closely() -> None:
    along, _, posterior = arc()
    wave = torch.sin(3 * torch.pi * along)
    left = []
    for count in (1, 3, 6):
        values = landscape_of(posterior, count, draw()).functions(posterior.means)
        design = torch.cat([torch.ones(COUNT, 1), values], 1)
        fitted = design @ torch.linalg.lstsq(design, wave[:, None]).solution
        left.append(float((wave - fitted[:, 0]).var() / wave.var()))
    assert left[0] > 0.8 > 0.35 > left[2]
    assert left[0] > left[1] > left[2]


def test_latents_that_are_noise_alone_have_no_landscape() -> None:
    generator = torch.Generator().manual_seed(3)
    # Posterior means of latents about which nothing is known hardly differ.
    means = 0.3 * torch.randn(COUNT, 4, generator=generator)
    posterior = LatentPosterior(means, torch.eye(4).expand(COUNT, 4, 4).clone())
    assert landscape_of(posterior, 8, draw()) is None


def test_latents_known_better_than_nodes_lie_apart_have_a_wider_kernel() -> None:
    _, _, posterior = arc()
    assert landscape_of(posterior, 4, draw()).width == WIDTH_IN_NOISE
    sharp = replace(posterior, covariances=1e-4 * posterior.covariances)
    assert landscape_of(sharp, 4, draw()).width > 2 * WIDTH_IN_NOISE


def test_another_gauge_changes_no_function() -> None:
    _, _, posterior = arc()
    landscape = landscape_of(posterior, 4, draw())
    gauge = Gauge(torch.tensor([0.5, -2.0]), torch.tensor([[0.2, 0.1], [-0.3, 0.4]]))
    found = landscape.in_gauge(gauge).functions(gauge.latents(posterior).means)
    torch.testing.assert_close(found, landscape.functions(posterior.means), rtol=1e-3, atol=1e-3)


def informed(values: torch.Tensor, precision: float, generator: torch.Generator) -> Information:
    """Measurements of values with independent errors of a precision."""
    count, functions = values.shape
    seen = values + torch.randn(count, functions, generator=generator) / precision**0.5
    return Information(precision * seen, precision * torch.eye(functions).expand(count, -1, -1).clone())


def test_the_likelihood_is_that_of_the_measurement() -> None:
    generator = draw(5)
    values = torch.randn(7, 3, generator=generator)
    seen = informed(values, 4.0, generator)
    tried = torch.randn(5, 3, generator=generator)
    centre = seen.pull / 4.0
    expected = -0.5 * 4.0 * ((tried[None] - centre[:, None]) ** 2).sum(2)
    difference = seen.log_likelihood(tried) - expected
    assert float((difference - difference[:, :1]).abs().max()) < 1e-4


def test_places_are_nearer_the_truth_than_noisy_latents_and_know_how_near() -> None:
    _, points, posterior = arc()
    landscape = landscape_of(posterior, 6, draw())
    clean = landscape.functions(points)
    moved, placed = place(informed(clean, 30.0, draw(7)), landscape, 500)
    before = float((posterior.means - points).norm(dim=1).median())
    after = float((placed.latents.means - points).norm(dim=1).median())
    assert after < 0.75 * before
    assert float(moved.shares.sum()) == pytest.approx(1, abs=1e-4)
    spread = placed.latents.covariances.diagonal(dim1=1, dim2=2).sum(1)
    square = ((placed.latents.means - points) ** 2).sum(1)
    # Nodes are latents with noise of their own, so that what is claimed is more than what is left.
    assert 0.3 < float(square.mean() / spread.mean()) < 1.2


def test_places_do_not_depend_on_how_many_images_are_held_or_on_which_process() -> None:
    _, points, posterior = arc()
    landscape = landscape_of(posterior, 4, draw())
    seen = informed(landscape.functions(points), 10.0, draw(8))
    whole, all_placed = place(seen, landscape, COUNT)
    parts, some_placed = place(seen, landscape, 37)
    torch.testing.assert_close(parts.shares, whole.shares, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(some_placed.latents.means, all_placed.latents.means, rtol=1e-3, atol=1e-3)
    # Two processes with the same images have twice the sums and the same shares.
    twice, _ = place(seen, landscape, COUNT, lambda sums: 2 * sums)
    torch.testing.assert_close(twice.shares, whole.shares, rtol=1e-3, atol=1e-6)

"""Smooth functions of the latent."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy.stats import spearmanr

from nunatak.latent import landscape
from nunatak.latent.landscape import WIDTH_IN_NOISE, landscape_of
from nunatak.latent.landscape_posterior import placed
from nunatak.latent.subspace import LatentPosterior, whitening_gauge

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


def test_units_of_the_latents_change_no_function() -> None:
    """Distances are taken in units of the noise, so that stretched and turned latents are the same places."""
    _, _, posterior = arc()
    stretch = torch.tensor([[0.2, 0.1], [-0.3, 0.4]])
    turned = LatentPosterior(posterior.means @ stretch.T, stretch @ posterior.covariances @ stretch.T)
    expected = landscape_of(posterior, 4, draw()).functions(posterior.means)
    found = landscape_of(turned, 4, draw()).functions(turned.means)
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)


def far_and_near_states() -> tuple[torch.Tensor, torch.Tensor, LatentPosterior]:
    """Six states far apart in a plane, one of which is two that differ by 2.5 of the noise across it."""
    generator = torch.Generator().manual_seed(4)
    state = torch.randint(0, 6, (COUNT,), generator=generator)
    angle = torch.pi / 3 * state
    kind = torch.randint(0, 2, (COUNT,), generator=generator)
    across = torch.where(state == 0, 2.5 * (kind - 0.5), torch.zeros(COUNT))
    points = torch.stack([14 * torch.cos(angle), 14 * torch.sin(angle), across], 1)
    noisy = points + torch.randn(COUNT, 3, generator=generator)
    return state == 0, kind.float(), LatentPosterior(noisy, torch.eye(3).expand(COUNT, 3, 3).clone())


def explained(posterior: LatentPosterior, asked: torch.Tensor, wanted: torch.Tensor) -> float:
    """Share of the variance of something that five functions explain among some particles."""
    values = landscape_of(posterior, 5, draw()).functions(posterior.means)[asked]
    assert values.shape[1] == 5
    design = torch.cat([torch.ones(len(values), 1), values], 1)
    wanted = wanted[asked][:, None]
    return 1 - float((wanted - design @ torch.linalg.pinv(design) @ wanted).var() / wanted.var())


def test_functions_hold_every_direction_of_the_latents(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smoothest functions tell six states apart, and none within one; the latent itself explains 0.61."""
    one, kind, posterior = far_and_near_states()
    assert explained(posterior, one, kind) > 0.4
    monkeypatch.setattr(landscape, "_with_directions", lambda found, *rest: found)
    assert explained(posterior, one, kind) < 0.1


def white_arc() -> tuple[torch.Tensor, LatentPosterior]:
    """An arc in the gauge of convention 10."""
    along, _, posterior = arc()
    gauge = whitening_gauge(posterior, torch.randn(3, 4, 4, 4, generator=draw(5)))
    return along, gauge.latents(posterior)


def test_images_that_say_nothing_leave_the_priors() -> None:
    """The particles' density for the functions, the standard normal one for the latents."""
    _, posterior = white_arc()
    landscape = landscape_of(posterior, 4, draw())
    nothing = torch.zeros(2, 4), torch.zeros(2, 4, 4), torch.zeros(2, 4)
    functions, latents = placed(landscape, *nothing)
    assert float(functions.means.abs().max()) < 0.1
    assert float((functions.covariances.diagonal(dim1=1, dim2=2) - 1).abs().max()) < 0.15
    assert float(latents.means.abs().max()) < 0.3
    # Nodes lie on the arc and around it, not everywhere: the moments are only near those of the prior.
    assert 0.4 < float(latents.covariances.diagonal(dim1=1, dim2=2).mean()) < 1.6


def test_sharp_images_are_placed_where_they_lie() -> None:
    _, posterior = white_arc()
    landscape = landscape_of(posterior, 6, draw())
    rows = torch.arange(0, 1000, 50)
    nodes = landscape.nodes[rows]
    values = landscape.functions(nodes)
    count = values.shape[1]
    information = 1e4 * torch.eye(count).expand(len(rows), count, count)
    # Compared with the maps elsewhere: the pull must lead to the right node whatever that place is.
    elsewhere = values + 0.2
    pull = torch.einsum("nij,nj->ni", information, values - elsewhere)
    functions, latents = placed(landscape, elsewhere, information, pull)
    assert torch.allclose(functions.means, values, atol=0.05)
    assert float((latents.means - nodes).norm(dim=1).median()) < 0.05


def test_slopes_are_those_of_the_functions() -> None:
    _, posterior = white_arc()
    landscape = landscape_of(posterior, 6, draw())
    nodes = landscape.nodes.double()
    exact = replace(
        landscape,
        nodes=nodes,
        metric=landscape.metric.double(),
        combination=landscape.combination.double(),
        offset=landscape.offset.double(),
    )
    step = 1e-5 * torch.eye(2, dtype=torch.float64)
    differences = [(exact.functions(nodes + d) - exact.functions(nodes - d)) / 2e-5 for d in step]
    torch.testing.assert_close(exact.slopes(), torch.stack(differences, 2), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(landscape.slopes().double(), exact.slopes(), rtol=1e-2, atol=1e-2)


def test_sharp_images_are_placed_between_nodes_too() -> None:
    """However sure an image is, where the nodes lie leaves no trace."""
    _, posterior = white_arc()
    landscape = landscape_of(posterior, 6, draw())
    others = posterior.means[~torch.isin(posterior.means[:, 0], landscape.nodes[:, 0])]
    values = landscape.functions(others)
    count = values.shape[1]
    information = 1e4 * torch.eye(count).expand(len(others), count, count)
    functions, latents = placed(landscape, values, information, torch.zeros_like(values))
    apart = torch.cdist(others, landscape.nodes).amin(1)
    off = (latents.means - others).norm(dim=1)
    assert float(off.median()) < 0.25 * float(apart.median())
    assert float((functions.means - values).abs().median()) < 0.02
    # Where the particle is and what is said of it lie equally far from the nearest node.
    found_apart = torch.cdist(latents.means, landscape.nodes).amin(1)
    assert 0.9 < float(found_apart.median() / apart.median()) < 1.1


def test_the_posterior_is_that_of_a_fine_sum_over_the_latent() -> None:
    """The closed form against every place of a fine grid, at images that are unsure over some nodes."""
    _, posterior = white_arc()
    landscape = landscape_of(posterior, 4, draw())
    axis = torch.arange(-3.5, 3.5, 0.05)
    places = torch.cartesian_prod(axis, axis)
    kernel = torch.distributions.MultivariateNormal(torch.zeros(2), landscape.kernel())
    weights = torch.exp(-0.5 * landscape.nodes.square().sum(1)) / landscape.density()
    prior = sum(
        w * kernel.log_prob(places - node).exp() for w, node in zip(weights, landscape.nodes, strict=True)
    )
    values = landscape.functions(places)
    rows = torch.randperm(len(posterior.means), generator=draw(7))[:20]
    there = landscape.functions(posterior.means[rows])
    information = 30.0 * torch.eye(4).expand(20, 4, 4)
    found = placed(landscape, there, information, torch.zeros_like(there))[1]
    fit = -15.0 * torch.cdist(there, values).square()
    share = torch.softmax(fit + prior.log(), 1)
    means = share @ places
    spread = (share @ places.square() - means.square()).sqrt()
    error = (found.means - means).norm(dim=1) / spread.norm(dim=1)
    assert float(error.median()) < 0.2
    assert float(error.max()) < 1
    ratio = found.covariances.diagonal(dim1=1, dim2=2).sqrt() / spread
    assert 0.8 < float(ratio.median()) < 1.25


def test_the_gauge_changes_no_function() -> None:
    _, posterior = white_arc()
    landscape = landscape_of(posterior, 5, draw())
    gauge = whitening_gauge(
        LatentPosterior(2 * posterior.means + 1, posterior.covariances), torch.randn(3, 4, 4, 4)
    )
    there = gauge.latents(posterior).means
    assert torch.allclose(
        landscape.in_gauge(gauge).functions(there), landscape.functions(posterior.means), atol=1e-3
    )

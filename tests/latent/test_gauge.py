"""The gauge of the linear latent model, and the moments that the M-step is made of."""

from __future__ import annotations

import pytest
import torch

from nunatak.latent.subspace import LatentPosterior, moments, whitening_gauge
from nunatak.projection.slices import packed_products


def posterior(count: int = 400, latent_dim: int = 3, seed: int = 0) -> LatentPosterior:
    """Latents that are neither centred nor white, with covariances that differ from image to image."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(latent_dim, latent_dim, generator=generator)
    means = torch.randn(count, latent_dim, generator=generator) @ mixing + torch.arange(latent_dim)
    factors = 0.3 * torch.randn(count, latent_dim, latent_dim, generator=generator)
    return LatentPosterior(means, factors @ factors.transpose(1, 2) + 0.01 * torch.eye(latent_dim))


def maps_of(latent_dim: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(1 + latent_dim, 6, 6, 6, generator=torch.Generator().manual_seed(seed))


def volumes(maps: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    return maps[0] + torch.einsum("nq,qzyx->nzyx", latents, maps[1:])


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_gauge_leaves_every_volume_where_it_was(latent_dim: int) -> None:
    before, maps = posterior(latent_dim=latent_dim), maps_of(latent_dim)
    gauge = whitening_gauge(before, maps)
    after, turned = gauge.latents(before), gauge.maps(maps)
    torch.testing.assert_close(
        volumes(turned, after.means), volumes(maps, before.means), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_gauge_leaves_the_uncertainty_of_volumes_where_it_was(latent_dim: int) -> None:
    before, maps = posterior(20, latent_dim), maps_of(latent_dim)
    gauge = whitening_gauge(before, maps)
    after, turned = gauge.latents(before), gauge.maps(maps)
    spread = lambda m, p: torch.einsum("qv,nqr,rv->nv", m[1:].flatten(1), p.covariances, m[1:].flatten(1))  # noqa: E731
    torch.testing.assert_close(spread(turned, after), spread(maps, before), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_latents_are_centred_and_white_with_their_covariances_counted(latent_dim: int) -> None:
    before = posterior(latent_dim=latent_dim)
    after = whitening_gauge(before, maps_of(latent_dim)).latents(before)
    torch.testing.assert_close(after.means.mean(0), torch.zeros(latent_dim), rtol=0, atol=1e-4)
    moment = after.means.T @ after.means / len(after.means) + after.covariances.mean(0)
    torch.testing.assert_close(moment, torch.eye(latent_dim), rtol=0, atol=1e-3)


def test_components_are_orthogonal_and_the_strongest_comes_first() -> None:
    before, maps = posterior(), maps_of(3)
    components = whitening_gauge(before, maps).maps(maps)[1:].flatten(1)
    gram = components @ components.T
    power = gram.diagonal()
    assert (gram - torch.diag(power)).abs().max() < 1e-4 * power.max()
    assert (power[:-1] >= power[1:]).all()


def test_gauge_is_idempotent_up_to_signs() -> None:
    before, maps = posterior(), maps_of(3)
    first = whitening_gauge(before, maps)
    after, turned = first.latents(before), first.maps(maps)
    second = whitening_gauge(after, turned)
    torch.testing.assert_close(second.transform.abs(), torch.eye(3), rtol=0, atol=2e-3)
    torch.testing.assert_close(second.centre, torch.zeros(3), rtol=0, atol=1e-4)


def test_gauge_survives_a_component_without_use() -> None:
    """A latent that is always zero and certain must not bring infinities."""
    before, maps = posterior(), maps_of(3)
    means, covariances = before.means.clone(), before.covariances.clone()
    means[:, 1] = 0
    covariances[:, 1] = covariances[:, :, 1] = 0
    gauge = whitening_gauge(LatentPosterior(means, covariances), maps)
    assert torch.isfinite(gauge.transform).all()
    assert torch.isfinite(gauge.maps(maps)).all()


def test_moments_are_those_of_draws_from_the_posterior() -> None:
    """E[(a, a z)] and E[(a, a z)(a, a z)^T] against 200,000 draws."""
    given = posterior(3, 2)
    scales = torch.tensor([1.0, 0.7, 1.4])
    first, second = moments(given, scales)
    generator = torch.Generator().manual_seed(7)
    roots = torch.linalg.cholesky(given.covariances)
    draws = given.means[:, None] + torch.randn(3, 200_000, 2, generator=generator) @ roots.transpose(1, 2)
    whole = scales[:, None, None] * torch.cat([torch.ones(3, 200_000, 1), draws], 2)
    torch.testing.assert_close(first, whole.mean(1), rtol=0.01, atol=0.01)
    expected = torch.stack([packed_products(w).mean(0) for w in whole])
    torch.testing.assert_close(second, expected, rtol=0.02, atol=0.02)


def test_moments_without_latents_are_the_scale_and_its_square() -> None:
    scales = torch.tensor([1.0, 0.5])
    first, second = moments(LatentPosterior(torch.zeros(2, 0), torch.zeros(2, 0, 0)), scales)
    assert first.tolist() == [[1.0], [0.5]]
    assert second.tolist() == [[1.0], [0.25]]

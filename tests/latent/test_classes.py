"""Classes as vertices of a latent simplex: the same volumes, and latents as convention 10 wants them."""

from __future__ import annotations

import torch

from nunatak.latent.classes import simplex

WEIGHTS = torch.tensor([0.5, 0.3, 0.15, 0.05])


def class_maps() -> torch.Tensor:
    return torch.randn(4, 5, 5, 5, generator=torch.Generator().manual_seed(1))


def test_every_vertex_is_its_classs_map() -> None:
    corners, maps = simplex(WEIGHTS), class_maps()
    model = corners.maps(maps)
    volumes = model[0] + torch.einsum("kj,jzyx->kzyx", corners.vertices, model[1:])
    torch.testing.assert_close(volumes, maps, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model[0], torch.einsum("k,kzyx->zyx", WEIGHTS, maps), rtol=1e-4, atol=1e-4)


def test_sharp_classes_have_white_latents_and_no_covariance() -> None:
    counts = (WEIGHTS * 1000).round().long()
    labels = torch.repeat_interleave(torch.arange(4), counts)
    posterior = simplex(WEIGHTS).posterior(torch.nn.functional.one_hot(labels, 4).float())
    torch.testing.assert_close(posterior.means.mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    covariance = posterior.means.T @ posterior.means / len(labels)
    torch.testing.assert_close(covariance, torch.eye(3), rtol=0, atol=1e-4)
    assert float(posterior.covariances.abs().max()) < 1e-4


def test_an_undecided_particle_lies_at_the_mean_with_the_populations_spread() -> None:
    posterior = simplex(WEIGHTS).posterior(WEIGHTS[None])
    torch.testing.assert_close(posterior.means[0], torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(posterior.covariances[0], torch.eye(3), rtol=0, atol=1e-4)


def test_one_class_has_no_latents() -> None:
    one = simplex(torch.ones(1))
    maps = torch.ones(1, 3, 3, 3)
    assert torch.equal(one.maps(maps), maps)
    assert one.posterior(torch.ones(5, 1)).means.shape == (5, 0)

"""Cells of latents, and the gauge of latents that a network gives."""

from __future__ import annotations

import pytest
import torch

from nunatak.latent.cells import balanced_cells
from nunatak.latent.encoder import divergence_from_prior, image_features
from nunatak.latent.gauge import population_gauge, ungauged
from nunatak.latent.subspace import LatentPosterior


@pytest.mark.parametrize(("count", "size"), [(1, 5), (100, 7), (64, 64), (65, 64), (3, 1)])
def test_every_row_is_in_one_cell_of_the_size(count: int, size: int) -> None:
    positions = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    cells = balanced_cells(positions, size)
    assert torch.equal(torch.cat(cells).sort().values, torch.arange(count))
    assert max(map(len, cells)) <= size
    assert min(map(len, cells)) >= min(count, size) // 2


def test_cells_are_near_each_other() -> None:
    positions = torch.randn(512, 2, generator=torch.Generator().manual_seed(0))
    within = sum(
        float(positions[cell].var(0, correction=0).sum()) * len(cell)
        for cell in balanced_cells(positions, 16)
    )
    assert within / 512 < 0.1 * float(positions.var(0).sum())


def test_rows_without_dimensions_are_divided_by_order() -> None:
    cells = balanced_cells(torch.zeros(10, 0), 5)
    assert [cell.tolist() for cell in cells] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_the_gauge_centres_whitens_and_can_be_undone() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[2.0, 0.3, 0], [0, 0.1, 0], [0.5, 0, 1]])
    means = torch.randn(400, 3, generator=generator) @ mixing + torch.tensor([1.0, -2, 3])
    covariances = torch.diag_embed(torch.tensor([0.1, 0.5, 0.2])).expand(400, 3, 3)
    posterior = LatentPosterior(means, covariances)
    gauge = population_gauge(posterior)
    placed = gauge.latents(posterior)
    torch.testing.assert_close(placed.means.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    spread = placed.means.T @ placed.means / 400
    torch.testing.assert_close(spread + placed.covariances.mean(0), torch.eye(3), atol=1e-3, rtol=0)
    told = spread.diagonal()
    assert (told.diff() < 0).all()
    assert float((spread - torch.diag(told)).abs().max()) < 1e-3
    torch.testing.assert_close(ungauged(placed.means, gauge), means, atol=1e-4, rtol=1e-4)


def test_the_divergence_is_that_of_gaussians() -> None:
    mean, log_variance = torch.tensor([[0.0, 0.0], [1.0, -2.0]]), torch.tensor([[0.0, 0.0], [0.5, -1.0]])
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (0.5 * log_variance).exp()), torch.distributions.Normal(0.0, 1.0)
    ).sum(1)
    torch.testing.assert_close(divergence_from_prior(mean, log_variance), expected)


def test_features_have_unit_mean_square_and_leave_out_what_is_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(5, 30, dtype=torch.complex64, generator=generator)
    signal = torch.where(torch.arange(30) < 20, 4.0, 0.0)
    features = image_features(samples, torch.ones(5, 30), signal)
    assert features.shape == (5, 60)
    torch.testing.assert_close(features.square().mean(1), torch.ones(5))
    assert float(features[:, 40:].abs().max()) == 0

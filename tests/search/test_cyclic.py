"""Turns in the plane by residues: exact against every turned slice, both ways, and in the kernels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nunatak.search import cyclic_kernels
from nunatak.search.cyclic import (
    reference_turned_scores,
    residues,
    samples_of_residues,
    slice_matrix,
    turned_products,
    weighted_residues,
)
from nunatak.search.marginal_sums import dense_weights
from nunatak.search.polar import PolarPlane, fold_turns, polar_plane, turn_all, turn_weights

COUNTS = [6, 12, 24]


def random_samples(rows: int, plane: PolarPlane, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, len(plane), dtype=torch.complex64, generator=generator)


def features(samples: Tensor) -> Tensor:
    return torch.cat([samples.real, samples.imag], -1)


@pytest.mark.parametrize("count", COUNTS)
def test_products_are_those_with_every_turned_slice(count: int) -> None:
    plane = polar_plane(6, count)
    images, slices = random_samples(5, plane, 0), random_samples(7, plane, 1)
    exact = torch.einsum("bf,dsf->bsd", features(images).double(), turn_all(slices, plane).double())
    sums = residues(images, count) @ slice_matrix(residues(slices, count))
    torch.testing.assert_close(turned_products(sums, count).double(), exact, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("count", COUNTS)
def test_products_of_powers_are_those_of_turned_powers(count: int) -> None:
    plane = polar_plane(4, count)
    squared, power = random_samples(3, plane, 0).abs(), random_samples(5, plane, 1).abs()
    exact = torch.einsum("bn,dsn->bsd", squared, turn_weights(power, plane))
    pair = [residues(torch.complex(part, torch.zeros_like(part)), count) for part in (squared, power)]
    found = turned_products(pair[0] @ slice_matrix(pair[1]), count)
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", COUNTS)
def test_residues_are_inverted(count: int) -> None:
    samples = random_samples(4, polar_plane(5, count), 2)
    torch.testing.assert_close(samples_of_residues(residues(samples, count), count), samples)


@pytest.mark.parametrize("count", COUNTS)
def test_weighted_residues_are_the_adjoint_of_turning(count: int) -> None:
    plane = polar_plane(5, count)
    images = random_samples(4, plane, 3)
    weights = torch.rand(4, count, 3, generator=torch.Generator().manual_seed(4))
    exact = fold_turns(torch.einsum("bsd,bf->dsf", weights, features(images)), plane)
    found = samples_of_residues(weighted_residues(weights, residues(images, count), count), count)
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_kernel_scores_are_the_reference(temperature: float) -> None:
    """cyclic_kernels.turned_scores against reference_turned_scores."""
    count, images, shifts = 12, 3, 5
    plane = polar_plane(5, count)
    samples, slices = random_samples(images * shifts, plane, 5), random_samples(9, plane, 6)
    sums = residues(samples, count) @ slice_matrix(residues(slices, count))
    generator = torch.Generator().manual_seed(7)
    norm = torch.rand(images, count, 9, generator=generator)
    prior = -torch.rand(shifts, generator=generator)
    expected, best = reference_turned_scores(sums, norm, prior, temperature)
    found, top = cyclic_kernels.turned_scores(sums, norm, prior, temperature)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(top, best, rtol=1e-5, atol=1e-4)


def test_significant_scores_are_the_large_weights() -> None:
    """cyclic_kernels.significant_scores against dense_weights; None where too many are large."""
    scores = 4 * torch.randn(2, 3, 12, 8, generator=torch.Generator().manual_seed(8))
    top = scores.flatten(1).amax(1)
    found = cyclic_kernels.significant_scores(scores, top, cut=6.0)
    assert found is not None
    weights, log_evidence = dense_weights(scores.clone())
    expected = torch.zeros_like(weights)
    turn, direction = found.pose % 12, found.pose // 12
    expected[found.image, found.shift, turn, direction] = torch.from_numpy(found.weight).float()
    kept = scores >= (top - 6.0)[:, None, None, None]
    assert len(found.weight) == int(kept.sum())
    torch.testing.assert_close(expected, torch.where(kept, weights, 0.0), rtol=0.05, atol=1e-3)
    torch.testing.assert_close(torch.from_numpy(found.log_evidence), log_evidence, rtol=0, atol=0.1)
    assert cyclic_kernels.significant_scores(scores, top, cut=6.0, room=3) is None

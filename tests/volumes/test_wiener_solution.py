"""Regularised maps from Fourier sums: the compiled solver, the shells, the priors, the sums' algebra."""

from __future__ import annotations

import pytest
import torch

from nunatak.projection.slices import block_shape, packed_products
from nunatak.volumes import wiener, wiener_kernels
from nunatak.volumes.wiener import (
    FourierSums,
    block_shells,
    diagonal_positions,
    empty_sums,
    relative_ridge,
    shell_means,
    solve_blocks,
)


def random_sums(radius: int, channels: int, seed: int = 0, rank: int = 20) -> FourierSums:
    """Sums as images would give them: packed positive definite matrices, a complex vector per voxel."""
    generator = torch.Generator().manual_seed(seed)
    shape = block_shape(radius, 2)
    numerator = torch.randn(*shape, channels, dtype=torch.complex64, generator=generator)
    vectors = torch.randn(rank * numerator[..., 0].numel(), channels, generator=generator)
    packed = packed_products(vectors).view(*shape, rank, -1).sum(-2)
    return FourierSums(numerator, packed, radius)


@pytest.mark.parametrize("channels", [2, 5])
def test_solve_packed_kernel_agrees_with_the_reference(channels: int) -> None:
    """wiener_kernels.solve_packed against wiener.reference_solve_packed."""
    sums = random_sums(4, channels)
    ridge = torch.rand(6, channels, generator=torch.Generator().manual_seed(1)) + 0.1
    arguments = (sums.numerator, sums.denominator, ridge, block_shells(4))
    fast, slow = wiener_kernels.solve_packed(*arguments), wiener.reference_solve_packed(*arguments)
    torch.testing.assert_close(fast, slow, rtol=1e-3, atol=1e-4 * float(slow.abs().max()))


def test_solution_solves_the_system_it_is_said_to_solve() -> None:
    sums = random_sums(3, 3)
    ridge = torch.tensor([[0.5, 1.0, 2.0]]).repeat(5, 1)
    solved = solve_blocks(sums, ridge, 3)
    where = (2, 7, 3)
    row, column = torch.triu_indices(3, 3)
    matrix = torch.zeros(3, 3)
    matrix[row, column] = matrix[column, row] = sums.denominator[where]
    left = (matrix + torch.diag(ridge[0])).to(torch.complex64) @ solved[where]
    torch.testing.assert_close(left, sums.numerator[where], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_voxels_without_images_stay_empty(channels: int) -> None:
    sums = empty_sums(4, channels)
    solved = solve_blocks(sums, relative_ridge(sums, 0.1), 4)
    assert torch.isfinite(torch.view_as_real(solved)).all()
    assert not solved.any()


def test_solution_ends_at_the_radius_that_is_asked_for() -> None:
    sums = random_sums(6, 2)
    solved = solve_blocks(sums, torch.ones(8, 2), 4)
    shells = block_shells(6)
    assert not solved[shells > 4].any()
    assert (solved[shells <= 4].abs() > 0).all()
    whole = solve_blocks(sums, torch.ones(8, 2), 6)
    torch.testing.assert_close(solved[shells <= 4], whole[shells <= 4])


def test_block_shells_are_rounded_radii_of_the_unpadded_transform() -> None:
    shells = block_shells(5, 2)
    reach = 11
    assert shells.shape == block_shape(5, 2)
    assert shells[reach, reach, 0] == 0
    assert shells[reach, reach, 6] == shells[reach, reach - 6, 0] == shells[reach + 6, reach, 0] == 3
    assert shells[reach, reach + 4, 5] == round((4**2 + 5**2) ** 0.5 / 2)
    assert shells.max() == 6


def test_shell_means_average_each_shell() -> None:
    shells = block_shells(4)
    values = torch.stack([shells.float(), shells.float() ** 2], -1)
    found = shell_means(values, shells, 6)
    radius = torch.arange(6.0)
    torch.testing.assert_close(found, torch.stack([radius, radius**2], 1))


def test_diagonal_positions_pick_the_diagonal() -> None:
    for channels in (1, 2, 4):
        matrix = torch.arange(channels**2).view(channels, channels)
        row, column = torch.triu_indices(channels, channels)
        assert matrix[row, column][diagonal_positions(channels)].tolist() == matrix.diagonal().tolist()


def test_relative_ridge_is_a_fraction_of_each_shells_weight() -> None:
    radius, channels = 5, 2
    shells = block_shells(radius)
    sums = empty_sums(radius, channels)
    weight = 10.0 - shells.float()
    sums.denominator[..., 0], sums.denominator[..., 2] = weight, 2 * weight
    ridge = relative_ridge(sums, 0.1)
    expected = 0.1 * (10 - torch.arange(radius + 2.0))
    torch.testing.assert_close(ridge, torch.stack([expected, 2 * expected], 1))
    # A shell that saw nothing is held by the others: no division by nothing.
    sums.denominator[shells == 4] = 0
    assert (relative_ridge(sums, 0.1) > 0).all()


def test_sums_add_up_and_fade() -> None:
    first, second = random_sums(3, 2, 0), random_sums(3, 2, 1)
    both = first + second.scaled(0.5)
    torch.testing.assert_close(both.numerator, first.numerator + 0.5 * second.numerator)
    torch.testing.assert_close(both.denominator, first.denominator + 0.5 * second.denominator)
    assert (both.radius_px, both.padding, both.channels) == (3, 2, 2)

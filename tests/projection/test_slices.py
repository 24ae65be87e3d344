"""The compiled kernels against the plain reference, and both against their adjoints."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nunatak.core.fourier import half_plane
from nunatak.geometry.rotations import random_rotations, rotation_from_vector
from nunatak.projection import kernels, operator, slices
from nunatak.projection.gridding import block_from_maps
from nunatak.projection.insertion import insertion_threads
from nunatak.projection.operator import Projector
from nunatak.volumes.wiener import empty_sums


def setting(box: int = 15, radius: int = 6, count: int = 9) -> tuple[Tensor, Tensor, torch.Generator]:
    """Frequencies, rotations and a generator; on the axes too, where samples lie on voxels and x = 0."""
    generator = torch.Generator().manual_seed(box)
    quarter = rotation_from_vector(torch.tensor([[0.0, 0, 0], [0, torch.pi / 2, 0], [torch.pi, 0, 0]]))
    rotations = torch.cat([quarter.float(), random_rotations(count - 3, generator)])
    return half_plane(box, radius).frequencies, rotations, generator


def white(*shape: int, generator: torch.Generator, complex_values: bool = True) -> Tensor:
    dtype = torch.complex64 if complex_values else torch.float32
    return torch.randn(*shape, dtype=dtype, generator=generator)


@pytest.mark.parametrize("padding", [1, 2])
@pytest.mark.parametrize("channels", [1, 4])
def test_slice_block_kernel_agrees_with_the_reference(channels: int, padding: int) -> None:
    frequencies, rotations, generator = setting()
    maps = torch.randn(channels, 15, 15, 15, generator=generator)
    block = block_from_maps(maps, 6, padding)
    fast = kernels.slice_block(block, rotations, frequencies, padding)
    slow = slices.slice_block(block, rotations, frequencies, padding)
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-4 * float(slow.abs().max()))


@pytest.mark.parametrize("complex_values", [True, False], ids=["samples", "weights"])
@pytest.mark.parametrize("padding", [1, 2])
def test_insert_block_kernel_agrees_with_the_reference(padding: int, complex_values: bool) -> None:
    frequencies, rotations, generator = setting()
    values = white(9, len(frequencies), 3, generator=generator, complex_values=complex_values)
    shape = slices.block_shape(6, padding)
    fast = kernels.insert_block(values, rotations, frequencies, padding, shape)
    slow = slices.insert_block(values, rotations, frequencies, padding, shape)
    assert fast.dtype == slow.dtype == values.dtype
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("latent_dim", [0, 3])
def test_insert_moments_kernel_agrees_with_the_reference(latent_dim: int) -> None:
    frequencies, rotations, generator = setting()
    samples = white(9, len(frequencies), generator=generator)
    powers = white(9, len(frequencies), generator=generator, complex_values=False).abs()
    first = white(9, 1 + latent_dim, generator=generator, complex_values=False)
    moments = (first, slices.packed_products(first) + 0.1)
    begun = empty_sums(6, 1 + latent_dim)
    begun.numerator[3, 3, 3], begun.denominator[3, 3, 3] = 2j, 5.0
    found = []
    for added in (kernels.insert_moments, slices.insert_moments):
        sums = begun.numerator.clone(), begun.denominator.clone()
        added((samples, powers), moments, rotations, frequencies, 2, sums)
        found.append(sums)
    for ours, theirs, before in zip(*found, (begun.numerator, begun.denominator), strict=True):
        assert not torch.equal(theirs, before)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_threads_insert_what_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each but the first in a block of its own, as many as there is room for."""
    frequencies, rotations, generator = setting()
    samples = white(9, len(frequencies), generator=generator)
    moments = torch.ones(9, 1), torch.ones(9, 1)
    found = []
    for threads in (1, 3):
        monkeypatch.setattr("numba.get_num_threads", lambda threads=threads: threads)
        sums = empty_sums(6, 1)
        inside = (sums.numerator, sums.denominator)
        kernels.insert_moments((samples, samples.abs()), moments, rotations, frequencies, 2, inside)
        found.append(sums)
    assert insertion_threads(10, 9) == 3
    assert insertion_threads(10, 2) == 2
    assert insertion_threads(10**9, 9) == 1
    torch.testing.assert_close(found[0].numerator, found[1].numerator, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[0].denominator, found[1].denominator, rtol=1e-4, atol=1e-4)


def test_kernels_take_what_is_not_contiguous_and_no_rotations_at_all() -> None:
    frequencies, rotations, generator = setting()
    maps = torch.randn(2, 15, 15, 15, generator=generator)
    block = block_from_maps(maps, 6)
    strided = block.flip(3)[..., 1:]
    turned = rotations.transpose(1, 2).contiguous().transpose(1, 2)
    fast = kernels.slice_block(strided, turned, frequencies, 2)
    torch.testing.assert_close(fast, kernels.slice_block(block[..., :1], rotations, frequencies, 2))
    none = kernels.slice_block(block, rotations[:0], frequencies, 2)
    assert none.shape == (0, len(frequencies), 2)
    assert not kernels.insert_block(none, rotations[:0], frequencies, 2, slices.block_shape(6, 2)).any()


@pytest.mark.parametrize("box", [16, 17])
@pytest.mark.parametrize("padding", [1, 2])
def test_projector_adjoint_of_several_maps_at_full_radius(box: int, padding: int) -> None:
    generator = torch.Generator().manual_seed(box)
    plane = half_plane(box, (box - 1) // 2)
    rotations = random_rotations(7, generator)
    projector = Projector(plane.frequencies, plane.radius_px, box, padding)
    maps = torch.randn(3, box, box, box, generator=generator)
    samples = white(7, len(plane), 3, generator=generator)
    # The real inner product over the whole plane: twice the real part over the half (convention 5).
    forward = 2 * (projector.forward(maps, rotations).to(torch.complex128) * samples.conj()).sum().real
    adjoint = (maps.double() * projector.adjoint(samples, rotations)).sum()
    scale = float(maps.norm() * projector.adjoint(samples, rotations).norm())
    assert float((forward - adjoint).abs()) < 1e-5 * scale


def test_friedel_mates_complete_the_plane() -> None:
    """The half block of x >= 0 holds what a whole one would: a block of ones is sampled as one everywhere."""
    frequencies, rotations, generator = setting()
    shape = slices.block_shape(6, 2)
    weights = white(9, len(frequencies), 1, generator=generator, complex_values=False)
    whole = operator.insert_block(weights, rotations, frequencies, shape)
    # Every sample and its mate spread a weight of one: the x > 0 half counts half of them, x = 0 both.
    total = float(whole[:, :, 1:].sum() + 0.5 * whole[:, :, 0].sum())
    assert total == pytest.approx(float(weights.sum()), rel=1e-3)


def test_gradient_of_slices_is_that_of_their_samples() -> None:
    """A slice that is turned a little moves along the gradient; where cells are crossed it jumps."""
    box, radius = 16, 5
    generator = torch.Generator().manual_seed(3)
    centre = torch.arange(box) - box // 2
    squared = centre[:, None, None] ** 2 + centre[None, :, None] ** 2 + (centre[None, None] - 1) ** 2
    maps = torch.exp(-squared / 8.0)[None] * torch.tensor([1.0, -0.6]).view(2, 1, 1, 1)
    block = block_from_maps(maps, radius)
    frequencies, rotations = half_plane(box, radius).frequencies, random_rotations(5, generator)
    mixing = torch.randn(5, 2, generator=generator)
    values, gradient = slices.slice_with_gradient(block, rotations, frequencies, 2, mixing)
    torch.testing.assert_close(values, slices.slice_block(block, rotations, frequencies, 2))
    step = 1e-3
    for axis in range(3):
        turn = rotation_from_vector(step * torch.eye(3)[axis])
        ahead, behind = (
            (slices.slice_block(block, t @ rotations, frequencies, 2) * mixing[:, None]).sum(-1)
            for t in (turn, turn.T)
        )
        frame = torch.nn.functional.pad(frequencies.float(), (0, 1))
        moved = torch.einsum(
            "nd,pde->pne", torch.linalg.cross(frame, torch.eye(3)[axis].expand_as(frame)), rotations
        )
        expected = (gradient * moved).sum(-1)
        numeric = (ahead - behind) / (2 * step)
        assert float((numeric - expected).norm() / expected.norm()) < 0.03


def test_packed_products_are_the_upper_triangle() -> None:
    moments = torch.randn(4, 3, generator=torch.Generator().manual_seed(5))
    row, column = torch.triu_indices(3, 3)
    whole = moments[:, :, None] * moments[:, None]
    torch.testing.assert_close(slices.packed_products(moments), whole[:, row, column])

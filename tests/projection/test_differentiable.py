"""Differentiable slices against torch's own derivatives of the plain reference."""

from __future__ import annotations

import pytest
import torch

from nunatak.core.fourier import half_plane
from nunatak.geometry.rotations import random_rotations
from nunatak.projection.differentiable import mixed_slices, reference_mixed_slices
from nunatak.projection.gridding import block_from_maps
from nunatak.projection.slices import plane_points, sample_block, slice_block


@pytest.mark.parametrize("channels", [1, 4])
def test_mixed_slices_and_their_derivatives_agree_with_reference_mixed_slices(channels: int) -> None:
    generator = torch.Generator().manual_seed(channels)
    frequencies = half_plane(16, 6).frequencies
    maps = torch.randn(channels, 16, 16, 16, generator=generator)
    inputs = (maps, random_rotations(5, generator), torch.randn(5, channels, generator=generator))
    wanted = torch.randn(5, len(frequencies), dtype=torch.complex64, generator=generator)
    results = []
    for slicer in (mixed_slices, reference_mixed_slices):
        maps, rotations, mixing = (part.clone().requires_grad_() for part in inputs)
        found = slicer(block_from_maps(maps, 6), rotations, frequencies, mixing)
        (found - wanted).abs().square().sum().backward()
        results.append((found.detach(), maps.grad, rotations.grad, mixing.grad))
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-3, atol=2e-4 * float(slow.abs().max()))


def test_gradients_are_only_made_where_they_are_wanted() -> None:
    generator = torch.Generator().manual_seed(0)
    frequencies = half_plane(16, 6).frequencies
    block = block_from_maps(torch.randn(2, 16, 16, 16, generator=generator), 6)
    rotations = random_rotations(3, generator).requires_grad_()
    mixing = torch.ones(3, 2)
    mixed_slices(block, rotations, frequencies, mixing).abs().square().sum().backward()
    assert rotations.grad is not None
    assert block.grad is None
    assert mixing.grad is None


def test_points_of_planes_are_where_slices_read() -> None:
    generator = torch.Generator().manual_seed(0)
    frequencies = half_plane(16, 6).frequencies
    block = block_from_maps(torch.randn(2, 16, 16, 16, generator=generator), 6)
    rotations = random_rotations(3, generator)
    read = sample_block(block, plane_points(rotations, frequencies), 2)
    torch.testing.assert_close(read, slice_block(block, rotations, frequencies, 2))

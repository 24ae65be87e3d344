"""What a GPU computes is what the CPU's kernels compute, at the size of real work; skipped without one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nunatak.core.device import CPU, to_device
from nunatak.core.fourier import half_plane
from nunatak.geometry.rotations import geodesic_deg, random_rotations
from nunatak.geometry.so3_grid import rotation_grid, shift_disk
from nunatak.projection import operator, slices
from nunatak.projection.gridding import block_from_maps
from nunatak.search.candidates import Candidates, ImageSamples
from nunatak.search.local import LocalPrior, LocalSearch
from nunatak.search.marginal import ImageBatch, marginal_step, shift_phases, trial_shifts
from nunatak.search.marginal_sums import MarginalSums
from nunatak.search.normal_equations import normal_equations
from nunatak.search.polar import polar_plane
from nunatak.search.slice_bank import slice_bank
from nunatak.volumes.maps import soft_sphere
from nunatak.volumes.wiener import empty_sums, relative_ridge, solve_maps

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

GPU = torch.device("cuda", 0)
RADIUS, BOX, IMAGES, LATENTS = 28, 128, 300, 4


def relative(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected|, in double precision on the CPU."""
    here = found.to(CPU)
    assert bool(torch.isfinite(torch.view_as_real(here) if here.is_complex() else here).all())
    double = torch.complex128 if here.is_complex() else torch.float64
    return float((here.to(double) - expected.to(double)).norm() / expected.to(double).norm())


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_block(channels: int, radius_px: int = RADIUS) -> Tensor:
    """A block of a compact object: smooth in Fourier space, as real ones are."""
    box = 2 * radius_px + 4
    maps = torch.randn(channels, box, box, box, generator=draw(0)) * soft_sphere(box, 0.35 * box, 2.0)
    return block_from_maps(maps, radius_px)


def candidates() -> Candidates:
    return Candidates(
        random_rotations(IMAGES, draw(1)),
        torch.randn(IMAGES, 2, generator=draw(2)),
        torch.ones(IMAGES),
        torch.randn(IMAGES, LATENTS, generator=draw(3)),
        torch.arange(IMAGES),
    )


def images_of(block: Tensor, own: Candidates, noise: float) -> ImageSamples:
    """Projections of the candidates' states with a transfer function, shifts and noise."""
    plane = half_plane(BOX, RADIUS)
    found = operator.slice_block(block, own.rotations, plane.frequencies)
    mixing = torch.cat([torch.ones(IMAGES, 1), own.latents], 1)
    clean = (found * mixing[:, None]).sum(-1)
    transfer = torch.rand(IMAGES, len(plane), generator=draw(4)) * 2 - 1
    angle = 2 * torch.pi / BOX * (own.shifts_px @ plane.frequencies.float().T)
    moved = clean * transfer * torch.polar(torch.ones_like(angle), angle)
    level = noise * float(clean.abs().square().mean().sqrt())
    grains = torch.randn(IMAGES, len(plane), dtype=torch.complex64, generator=draw(5)) * level
    return ImageSamples(moved + grains, transfer, plane)


def test_slices_and_sums() -> None:
    block, own = random_block(1 + LATENTS), candidates()
    plane = half_plane(BOX, RADIUS)
    there = to_device((block, own, plane.frequencies), GPU)
    here = operator.slice_block(block, own.rotations, plane.frequencies)
    assert relative(operator.slice_block(there[0], there[1].rotations, there[2]), here) < 1e-5
    weighted = here[..., 0].contiguous(), torch.rand(IMAGES, len(plane), generator=draw(6))
    first = torch.cat([torch.ones(IMAGES, 1), own.latents], 1)
    moments = first, slices.packed_products(first)
    sums, on_gpu = (empty_sums(RADIUS, 1 + LATENTS, device=device) for device in (CPU, GPU))
    expected, found = ((both.numerator, both.denominator) for both in (sums, on_gpu))
    operator.insert_moments(weighted, moments, own.rotations, plane.frequencies, expected)
    operator.insert_moments(*to_device((weighted, moments), GPU), there[1].rotations, there[2], found)
    for mine, theirs in zip(found, expected, strict=True):
        assert relative(mine, theirs) < 1e-5
    ridge = relative_ridge(sums, 0.1)
    maps = solve_maps(sums, ridge, RADIUS, 2 * RADIUS + 2)
    assert relative(solve_maps(*to_device((sums, ridge), GPU), RADIUS, 2 * RADIUS + 2), maps) < 1e-4


def test_normal_equations_and_local_search() -> None:
    block, own = random_block(1 + LATENTS), candidates()
    images = images_of(block, own, 0.5)
    weights = torch.ones(RADIUS + 1)
    expected = normal_equations(block, 2, own, images, weights)
    block_there, own_there, images_there, weights_there = to_device((block, own, images, weights), GPU)
    found = normal_equations(block_there, 2, own_there, images_there, weights_there)
    for name in ("hessian", "gradient", "power"):
        assert relative(getattr(found, name), getattr(expected, name)) < 1e-4, name
    here = LocalSearch(block, images, weights, LocalPrior()).refine(own, 2)
    there = LocalSearch(block_there, images_there, weights_there, LocalPrior()).refine(own_there, 2)
    moved = geodesic_deg(there.candidates.rotations.to(CPU), here.candidates.rotations)
    assert float(moved.median()) < 1e-3
    assert float((moved > 0.05).float().mean()) < 0.05
    assert relative(there.log_evidence, here.log_evidence) < 1e-4


def marginal(device: torch.device, dtype: torch.dtype) -> MarginalSums:
    block, own = random_block(1), candidates()
    grid, plane = rotation_grid(2), polar_plane(RADIUS, rotation_grid(2).in_plane_count)
    clean = operator.slice_block(block, own.rotations, plane.frequencies)[..., 0]
    transfer = torch.rand(IMAGES, len(plane), generator=draw(8)) * 2 - 1
    scale = 0.5 / float(clean.abs().square().mean().sqrt())
    grains = torch.randn(IMAGES, len(plane), dtype=torch.complex64, generator=draw(9)) * 2**0.5
    batch = ImageBatch(clean * transfer * scale + grains, transfer)
    block, batch, grid, plane = to_device((block * scale, batch, grid, plane), device)
    shifts = shift_disk(4.5, 1.5).to(device)
    trials = trial_shifts(shifts, shift_phases(shifts, plane, BOX), 2.0)
    return to_device(marginal_step(slice_bank(block, grid, plane, dtype), batch, trials), CPU)


def test_the_global_search_chooses_the_same_poses() -> None:
    """In float32; and in bfloat16, whose scores are known to some tenths of a nat only."""
    expected = marginal(CPU, torch.float32)
    for dtype, sums, evidence, chosen in ((torch.float32, 2e-2, 0.02, 0.99), (torch.bfloat16, 0.1, 2.0, 0.9)):
        found = marginal(GPU, dtype)
        assert relative(found.numerator, expected.numerator) < sums
        assert relative(found.denominator, expected.denominator) < sums
        assert float((found.log_evidence - expected.log_evidence).abs().max()) < evidence
        same = (found.best_pose == expected.best_pose) & (found.best_shift == expected.best_shift)
        assert float(same.float().mean()) >= chosen

"""Normal equations of pose, scale and latent: kernel against reference, both against finite differences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from _views import Views, disturbed, make_views, molecule_maps

from nunatak.geometry.rotations import rotation_from_vector
from nunatak.projection.gridding import block_from_maps
from nunatak.search import normal_equations, normal_kernels
from nunatak.search.candidates import LATENT, Candidates, NormalEquations


def setting(latent_dim: int, seed: int = 0) -> tuple[Views, Candidates]:
    """Noisy images; candidates near the truth, out of order, two for one image, with scales and latents."""
    views = make_views(5, latent_dim=latent_dim, noise=0.3, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    near = disturbed(views.truth, 5.0, 0.7)[torch.tensor([3, 0, 4, 4, 2, 1])]
    scales = 0.6 + 0.8 * torch.rand(6, generator=generator)
    return views, replace(near, scales=scales, latents=torch.randn(6, latent_dim, generator=generator))


def coloured(views: Views) -> torch.Tensor:
    """Weights that differ from shell to shell."""
    return views.weights * (1 + torch.arange(len(views.weights)) % 3)


@pytest.mark.parametrize("latent_dim", [0, 3])
def test_kernel_agrees_with_the_reference(latent_dim: int) -> None:
    """normal_kernels.normal_equations against normal_equations.reference_normal_equations."""
    views, candidates = setting(latent_dim)
    arguments = (views.block, 2, candidates, views.images, coloured(views))
    fast = normal_kernels.normal_equations(*arguments)
    slow = normal_equations.reference_normal_equations(*arguments)
    for name in ("hessian", "gradient", "power"):
        ours, theirs = getattr(fast, name), getattr(slow, name)
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5 * float(theirs.abs().max()))


def test_kernel_takes_a_block_for_a_larger_radius_and_padding_of_one() -> None:
    views, candidates = setting(2)
    maps = molecule_maps(24, 2)
    for block, padding in ((block_from_maps(maps, 11), 2), (block_from_maps(maps, 9, 1), 1)):
        arguments = (block, padding, candidates, views.images, views.weights)
        fast = normal_kernels.normal_equations(*arguments)
        slow = normal_equations.reference_normal_equations(*arguments)
        scale = float(slow.hessian.abs().max())
        torch.testing.assert_close(fast.hessian, slow.hessian, rtol=1e-3, atol=1e-5 * scale)
    larger = normal_equations.normal_equations(
        block_from_maps(maps, 11), 2, candidates, views.images, views.weights
    )
    exact = normal_equations.normal_equations(views.block, 2, candidates, views.images, views.weights)
    torch.testing.assert_close(larger.power, exact.power, rtol=1e-4, atol=1e-4 * float(exact.power.max()))


def test_residual_of_the_truth_is_the_noise() -> None:
    views = make_views(60, noise=0.5)
    found = normal_equations.normal_equations(views.block, 2, views.truth, views.images, views.weights)
    counts = torch.bincount(views.images.plane.shells)
    per_sample = found.power[:, 1:].mean(0) / counts[1:] / views.noise_variance
    # 60 images, at least 2 complex samples in a shell.
    assert ((per_sample - 1).abs() < 4 / (60 * counts[1:]).sqrt()).all()
    assert not found.power[:, 0].any()
    clean = make_views(5)
    rest = normal_equations.normal_equations(clean.block, 2, clean.truth, clean.images, clean.weights)
    signal = clean.images.samples.abs().square().sum()
    assert float(rest.power.sum() / signal) < 1e-9


def objective(views: Views, candidates: Candidates) -> torch.Tensor:
    """(e,) 1/2 |whitened residual|^2 in double precision, by the reference's residual."""
    found = normal_equations.reference_normal_equations(
        views.block.to(torch.complex128), 2, candidates, double_images(views), views.weights.double()
    )
    return 0.5 * found.power @ views.weights.double()


def double_images(views: Views) -> object:
    return replace(
        views.images,
        samples=views.images.samples.to(torch.complex128),
        transfer=views.images.transfer.double(),
    )


def doubled(candidates: Candidates) -> Candidates:
    parts = ("rotations", "shifts_px", "scales", "latents")
    return replace(candidates, **{name: getattr(candidates, name).double() for name in parts})


def stepped(candidates: Candidates, column: int, step: float) -> Candidates:
    """One parameter moved, in the order and frame of the Jacobian's columns."""
    change = torch.zeros(6 + candidates.latents.shape[1], dtype=torch.float64)
    change[column] = step
    return replace(
        candidates,
        rotations=rotation_from_vector(change[:3]) @ candidates.rotations,
        shifts_px=candidates.shifts_px + change[3:5],
        scales=candidates.scales + change[5],
        latents=candidates.latents + change[LATENT],
    )


@pytest.mark.parametrize("latent_dim", [0, 3])
def test_gradient_is_that_of_the_objective(latent_dim: int) -> None:
    """Central differences; trilinear slopes jump from cell to cell, so rotations agree to a percent only."""
    views, candidates = setting(latent_dim)
    candidates = doubled(candidates)
    gradient = normal_equations.normal_equations(
        views.block,
        2,
        Candidates(*(t.float() for t in parts(candidates)), candidates.rows),
        views.images,
        views.weights,
    ).gradient.double()
    for column in range(6 + latent_dim):
        is_rotation = column < 3
        step = 1e-3
        ahead, behind = (objective(views, stepped(candidates, column, s)) for s in (step, -step))
        numeric = -(ahead - behind) / (2 * step)
        error = (gradient[:, column] - numeric).norm() / numeric.norm()
        assert float(error) < (0.02 if is_rotation else 1e-3), column


def parts(candidates: Candidates) -> tuple[torch.Tensor, ...]:
    return candidates.rotations, candidates.shifts_px, candidates.scales, candidates.latents


def test_hessian_is_symmetric_and_predicts_the_objective_along_linear_columns() -> None:
    """Scale and latents enter linearly: second differences are the Hessian's diagonal exactly."""
    views, candidates = setting(2)
    found = normal_equations.normal_equations(views.block, 2, candidates, views.images, views.weights)
    torch.testing.assert_close(found.hessian, found.hessian.transpose(1, 2))
    assert (torch.linalg.eigvalsh(found.hessian.double()) > 0).all()
    candidates = doubled(candidates)
    for column in (5, 6, 7):
        ahead, here, behind = (objective(views, stepped(candidates, column, s)) for s in (0.1, 0.0, -0.1))
        second = (ahead - 2 * here + behind) / 0.01
        torch.testing.assert_close(found.hessian[:, column, column].double(), second, rtol=1e-3, atol=1e-3)


def test_normal_equations_on_the_cpu_are_the_kernels() -> None:
    views, candidates = setting(1)
    ours = normal_equations.normal_equations(views.block, 2, candidates, views.images, views.weights)
    assert isinstance(ours, NormalEquations)
    theirs = normal_kernels.normal_equations(views.block, 2, candidates, views.images, views.weights)
    assert torch.equal(ours.hessian, theirs.hessian)

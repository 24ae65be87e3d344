"""Local search: poses, shifts and latents are found again; evidence is an integral over the latents."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import roma
import torch
from _views import Views, disturbed, make_views

from nunatak.geometry.rotations import geodesic_deg
from nunatak.geometry.so3_grid import tangent_offsets
from nunatak.search.candidates import LATENT, Candidates
from nunatak.search.local import LocalPrior, LocalSearch, best_of, neighbours


def search_of(views: Views, **prior: object) -> LocalSearch:
    return LocalSearch(views.block, views.images, views.weights, LocalPrior(**prior))


def errors(views: Views, found: Candidates) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Degrees, pixels and latent units from the truth."""
    truth = views.truth
    return (
        geodesic_deg(found.rotations, truth.rotations),
        (found.shifts_px - truth.shifts_px).norm(dim=1),
        (found.latents - truth.latents).norm(dim=1),
    )


@pytest.mark.parametrize("latent_dim", [0, 2])
def test_refine_finds_noise_free_views_again(latent_dim: int) -> None:
    views = make_views(40, latent_dim=latent_dim)
    found = search_of(views).refine(disturbed(views.truth, 6.0, 1.0), 12)
    angle, shift, latent = errors(views, found.candidates)
    # Measured: 0.025 degrees median and 0.17 at most, 0.006 px, 0.04 latent units.
    assert float(angle.median()) < 0.1
    assert float(angle.max()) < 0.5
    assert float(shift.max()) < 0.05
    assert latent_dim == 0 or float(latent.max()) < 0.1


@pytest.mark.parametrize("latent_dim", [0, 2])
def test_refine_of_noisy_views_ends_where_the_noise_allows(latent_dim: int) -> None:
    """Errors in units of the Laplace covariance have the size of chi-square: not more, and not less."""
    views = make_views(150, latent_dim=latent_dim, noise=0.3)
    search = search_of(views)
    found = search.refine(disturbed(views.truth, 4.0, 0.7), 10)
    angle, shift, latent = errors(views, found.candidates)
    turn = found.candidates.rotations @ views.truth.rotations.transpose(1, 2)
    off = torch.cat(
        [
            roma.rotmat_to_rotvec(turn),
            found.candidates.shifts_px - views.truth.shifts_px,
            found.candidates.latents - views.truth.latents,
        ],
        1,
    )
    kept = torch.tensor([0, 1, 2, 3, 4, *range(6, 6 + latent_dim)])
    covariance = found.covariance[:, kept][:, :, kept]
    squared = (off * torch.linalg.solve(covariance, off)).sum(1) / len(kept)
    # Measured: 2.8 to 3.1 degrees and 0.13 px median; the square over its expectation 0.92 to 0.96 median.
    assert 0.7 < float(squared.median()) < 1.3
    assert float(angle.median()) < 4
    assert float(shift.median()) < 0.2
    assert latent_dim == 0 or float(latent.median()) < 0.2
    # The noise is fitted too: the optimum lies below the truth for every image.
    at_truth = search.evaluate(views.truth)
    assert (found.objective <= at_truth.objective + 0.1).float().mean() > 0.97


@pytest.mark.parametrize("noise", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("iterations", [1, 4])
def test_refine_never_ends_worse_than_it_began(noise: float, iterations: int) -> None:
    views = make_views(40, latent_dim=1, noise=noise, seed=2)
    search = search_of(views)
    for angle_deg in (1.0, 20.0, 120.0):
        start = disturbed(views.truth, angle_deg, 2.0)
        assert (search.refine(start, iterations).objective <= search.evaluate(start).objective).all()


def test_rotations_stay_rotations() -> None:
    views = make_views(20, noise=1.0)
    found = search_of(views).refine(disturbed(views.truth, 20.0, 2.0), 15).candidates.rotations
    identity = torch.eye(3).expand(20, 3, 3)
    torch.testing.assert_close(found @ found.transpose(1, 2), identity, rtol=0, atol=1e-5)
    assert (torch.linalg.det(found) > 0).all()


def test_held_parameters_are_held() -> None:
    views = make_views(10, latent_dim=2, noise=0.3)
    start = disturbed(views.truth, 4.0, 0.7)
    start = replace(start, latents=torch.ones_like(start.latents))
    found = search_of(views, pose=False).refine(start, 3).candidates
    torch.testing.assert_close(found.rotations, start.rotations, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.shifts_px, start.shifts_px, rtol=0, atol=1e-4)
    assert (found.latents - start.latents).abs().max() > 0.1
    found = search_of(views, latent=False).refine(start, 3).candidates
    torch.testing.assert_close(found.latents, start.latents, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.scales, start.scales, rtol=0, atol=1e-4)
    assert geodesic_deg(found.rotations, start.rotations).max() > 1


@pytest.mark.parametrize("scale_sd", [0.0, 0.3])
@pytest.mark.parametrize("latent_dim", [0, 2])
def test_profile_is_a_refinement_with_held_poses(latent_dim: int, scale_sd: float) -> None:
    """One solve gives what Levenberg-Marquardt steps with rotations and shifts held come to."""
    views = make_views(20, latent_dim=latent_dim, noise=0.5)
    start = disturbed(views.truth, 3.0, 0.5)
    stepwise = search_of(views, pose=False, scale_sd=scale_sd).refine(start, 12)
    once = search_of(views, scale_sd=scale_sd).profile(start)
    torch.testing.assert_close(once.candidates.rotations, start.rotations, rtol=0, atol=1e-6)
    torch.testing.assert_close(once.candidates.shifts_px, start.shifts_px)
    if scale_sd == 0:
        torch.testing.assert_close(once.candidates.latents, stepwise.candidates.latents, rtol=0, atol=0.02)
        torch.testing.assert_close(once.objective, stepwise.objective, rtol=1e-3, atol=0.05)
        torch.testing.assert_close(once.log_evidence, stepwise.log_evidence, rtol=1e-3, atol=0.05)
    else:
        # Scale times latent is not linear in both: one step comes near, and never below the optimum by much.
        assert float((once.objective - stepwise.objective).abs().mean()) < 0.05 * float(
            stepwise.objective.mean()
        )


def test_profile_claims_an_objective_that_evaluation_confirms() -> None:
    views = make_views(20, latent_dim=3, noise=0.5)
    search = search_of(views)
    found = search.profile(disturbed(views.truth, 3.0, 0.5))
    torch.testing.assert_close(
        search.evaluate(found.candidates).objective, found.objective, rtol=1e-3, atol=0.02
    )


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_evidence_is_the_integral_over_the_latents(latent_dim: int) -> None:
    """log of the sum over a fine grid of z of exp(-objective), which holds the prior, times the cell."""
    views = make_views(4, latent_dim=latent_dim, noise=3.0)
    search = search_of(views)
    found = search.profile(views.truth)
    axis = torch.linspace(-6, 6, 121 if latent_dim == 1 else 61)
    grid = torch.cartesian_prod(*[axis] * latent_dim).view(-1, latent_dim)
    step = float(axis[1] - axis[0])
    for row in range(4):
        start = views.truth[torch.full((len(grid),), row)]
        objective = search.evaluate(replace(start, latents=grid)).objective.double()
        # The prior's density is exp(-z^2 / 2) / sqrt(2 pi) per dimension.
        integral = torch.logsumexp(-objective, 0) + latent_dim * (
            math.log(step) - 0.5 * math.log(2 * math.pi)
        )
        assert float(found.log_evidence[row]) == pytest.approx(float(integral), abs=0.01)


def test_evidence_prefers_the_truth_where_the_residual_is_fooled() -> None:
    """The latent's posterior precision counts against poses at which the components explain much."""
    views = make_views(10, latent_dim=2, noise=0.5)
    fit = search_of(views).profile(views.truth)
    precision = torch.linalg.inv(fit.covariance[:, LATENT, LATENT])
    assert (fit.log_evidence < -fit.objective).all()
    assert torch.isfinite(precision).all()


def test_images_that_say_nothing_leave_the_priors() -> None:
    """Shifts go to zero, scales to one, latents to zero, and rotations nowhere."""
    views = make_views(30, latent_dim=1, noise=1.0)
    blind = replace(views, images=replace(views.images, transfer=torch.zeros_like(views.images.transfer)))
    start = replace(
        views.truth,
        shifts_px=torch.full((30, 2), 3.0),
        scales=torch.full((30,), 1.3),
        latents=torch.ones(30, 1),
    )
    found = search_of(blind, shift_sd_px=1.0, scale_sd=0.1).refine(start, 8)
    # The sum of the residual's digits is all that stops it before.
    assert float(found.candidates.shifts_px.abs().max()) < 0.05
    assert float((found.candidates.scales - 1).abs().max()) < 0.01
    assert float(found.candidates.latents.abs().max()) < 0.05
    torch.testing.assert_close(found.candidates.rotations, start.rotations, rtol=0, atol=1e-5)


def test_scale_is_found_within_its_prior() -> None:
    views = make_views(30, noise=0.2)
    faint = replace(views, images=replace(views.images, samples=0.8 * views.images.samples))
    found = search_of(faint, scale_sd=0.5).refine(views.truth, 6).candidates.scales
    assert float(found.mean()) == pytest.approx(0.8, abs=0.02)


def test_neighbours_of_a_candidate_stand_together_and_the_best_is_picked() -> None:
    views = make_views(15, noise=0.2)
    turns = tangent_offsets(8.0)
    # The truth is one of the neighbours: each candidate starts one of the turns away from it.
    picked = torch.arange(15) % len(turns)
    back = roma.rotvec_to_rotmat(-turns[picked]).float()
    start = replace(views.truth, rotations=back @ views.truth.rotations)
    tried = search_of(views).profile(neighbours(start, turns))
    assert len(tried.candidates) == 15 * len(turns)
    assert tried.candidates.rows.view(15, -1)[:, 0].tolist() == list(range(15))
    best = best_of(tried, len(turns))
    angle = geodesic_deg(tried.candidates.rotations[best], views.truth.rotations)
    assert (angle < 0.1).float().mean() > 0.9
    assert (best // len(turns)).tolist() == list(range(15))


def test_several_candidates_may_speak_of_one_image() -> None:
    views = make_views(4, noise=0.3)
    start = disturbed(views.truth, 3.0, 0.5)
    search = search_of(views)
    rows = torch.tensor([2, 2, 0])
    torch.testing.assert_close(
        search.refine(start[rows], 3).objective, search.refine(start, 3).objective[rows], rtol=1e-4, atol=1e-3
    )


def test_information_is_the_curvature_once_poses_are_integrated_out() -> None:
    """The latents' block of the inverse of the whole matrix, inverted, is information and prior together."""
    views = make_views(30, latent_dim=2, noise=0.3)
    start = disturbed(views.truth, 2.0, 0.3)
    information, _ = search_of(views, latent=False).information(start)
    free = search_of(views).evaluate(start).covariance[:, LATENT, LATENT]
    expected = torch.linalg.inv(free) - torch.eye(2)
    assert torch.allclose(information, expected, rtol=0.02, atol=0.05 * float(expected.abs().mean()))


def test_pull_on_the_latents_leads_to_where_they_are() -> None:
    """One step from latents that are off, at the right poses, without noise."""
    views = make_views(30, latent_dim=2)
    off = replace(views.truth, latents=views.truth.latents + 0.1)
    information, pull = search_of(views, latent=False).information(off)
    step = torch.linalg.solve(information, pull)
    # Poses give way a little, so that it is not exact; measured 0.004.
    assert float((step + 0.1).abs().median()) < 0.02

"""The hierarchical search: its kernels, its grids, and that it finds what an exhaustive search finds."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from _views import Views, make_views
from torch import Tensor

from nunatak.core.errors import InputError
from nunatak.geometry.rotations import geodesic_deg, random_rotations
from nunatak.geometry.so3_grid import cell_rotations, child_cells, rotation_grid
from nunatak.projection.operator import slice_block
from nunatak.search import hierarchical_kernels
from nunatak.search.candidates import ImageSamples
from nunatak.search.hierarchical import (
    HierarchicalConfig,
    KeptPoses,
    frequency_march,
    hierarchical_search,
    polar_batch,
    reference_best_shift,
    reference_score_children,
    row_samples,
    shift_axis,
)
from nunatak.search.marginal import ImageBatch

BOX, RADIUS = 32, 14


def searched(views: Views, config: HierarchicalConfig) -> KeptPoses:
    """A search of simulated views, their functions of transfer on polar samples included."""
    polar = polar_batch(views.images, polar_transfer(views, config), views.weights, config)
    return hierarchical_search(views.block, views.images, polar, views.weights, config)


def polar_transfer(views: Views, config: HierarchicalConfig) -> Tensor:
    """The views' transfer at polar points: they are functions of the radius, linear between its values."""
    radius = views.images.plane.frequencies.double().norm(dim=1)
    wanted = config.plane.frequencies.norm(dim=1)
    order = torch.argsort(radius)
    place = torch.searchsorted(radius[order], wanted - 1e-6).clamp(max=len(order) - 1)
    return views.images.transfer[:, order[place]]


def whole_grid(base_order: int, order: int) -> Tensor:
    """(72 * 8^order, 3, 3) every cell of an order."""
    pixels, turns = torch.arange(12 * 4**order), torch.arange(6 * 2**order)
    return cell_rotations(base_order, order, *torch.meshgrid(pixels, turns, indexing="ij")).flatten(0, 1)


def test_the_radius_marches_linearly_or_doubles() -> None:
    assert frequency_march(12, 32, 4) == (12, 17, 22, 27, 32)
    assert frequency_march(12, 32, 4, "doubling") == (12, 24, 32, 32, 32)
    assert frequency_march(12, 32, 0) == (12,)
    assert frequency_march(7, 7, 3) == (7, 7, 7, 7)


def test_defaults_are_the_published_ones_and_give_the_published_grids() -> None:
    config = HierarchicalConfig()
    named = dict(l_start=12, l_end=32, n_iter=4, t_extent=20, t_n_grid=7, n_kept_poses=8, base_healpy=2)
    assert config == HierarchicalConfig(**named)
    first, last = shift_axis(config, 0), shift_axis(config, 4)
    assert len(first) == len(last) == 14
    assert first[1] - first[0] == pytest.approx(2.857, abs=1e-3)
    assert last[1] - last[0] == pytest.approx(0.179, abs=1e-3)
    # Cells of the trial shifts cover the square exactly.
    assert float(first[-1] + (first[1] - first[0]) / 2) == pytest.approx(20)
    torch.testing.assert_close(first, -first.flip(0))


def test_cells_of_the_base_order_are_the_rotation_grid() -> None:
    torch.testing.assert_close(whole_grid(2, 2), rotation_grid(2).rotations(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("order", [1, 2])
def test_children_tile_their_parents(order: int) -> None:
    """Every cell of the next order is the child of one, stands about its centre, and nothing is left out."""
    shape = torch.arange(12 * 4**order), torch.arange(6 * 2**order)
    pixels, turns = (part.flatten() for part in torch.meshgrid(*shape, indexing="ij"))
    parents = cell_rotations(1, order, pixels, turns)
    child_pixels, child_turns = child_cells(pixels, turns)
    flat = child_pixels * 6 * 2 ** (order + 1) + child_turns
    assert torch.equal(flat.flatten().sort().values, torch.arange(72 * 8 ** (order + 1)))
    children = cell_rotations(1, order + 1, child_pixels, child_turns)
    step_deg = 60 / 2**order
    distance = geodesic_deg(children, parents[:, None].expand_as(children))
    assert float(distance.max()) < 0.75 * step_deg
    assert float(distance.min()) > 0.2 * step_deg
    # Any rotation is near a cell of the next order, whose parent is not far: no holes, at the poles neither.
    anywhere = random_rotations(2000, torch.Generator().manual_seed(0))
    trace = anywhere.flatten(1) @ children.flatten(2).flatten(0, 1).T
    nearest = trace.argmax(1)
    assert float(geodesic_deg(anywhere, children.flatten(0, 1)[nearest]).max()) < 0.95 * step_deg / 2
    assert float(geodesic_deg(anywhere, parents[nearest // 8]).max()) < 1.2 * step_deg


@pytest.mark.parametrize("shifts", [1, 4, 7, 14])
@pytest.mark.parametrize("radius", [5, 9])
def test_score_children_agrees_with_reference_score_children(radius: int, shifts: int) -> None:
    views = make_views(count=3, noise=1.0, latent_dim=0)
    generator = torch.Generator().manual_seed(2)
    rotations = random_rotations(3 * 2 * 8, generator).view(3, 2, 8, 3, 3)
    centres = 0.3 * torch.randn(3, 2, 2, generator=generator)
    offsets = (torch.arange(shifts, dtype=torch.float64) - (shifts - 1) / 2) * 0.07
    images = row_samples(views.images, views.weights)
    inputs = (views.block, 2, rotations, centres, images, radius, offsets)
    scores, found = hierarchical_kernels.score_children(*inputs)
    expected, where = reference_score_children(*inputs)
    torch.testing.assert_close(scores, expected, rtol=2e-4, atol=2e-4 * float(expected.abs().max()))
    assert float((found - where).abs().amax(-1).le(1e-4).float().mean()) > 0.95


def test_scores_are_log_likelihoods_against_noise() -> None:
    """- sum |y - m|^2 / sigma^2 + sum |y|^2 / sigma^2 (convention 7), at the true pose."""
    views = make_views(count=4, noise=1.0)
    plane, truth = views.images.plane, views.truth
    angle = 2 * math.pi / plane.box_px * (truth.shifts_px @ plane.frequencies.float().T)
    slices = slice_block(views.block, truth.rotations, plane.frequencies)[..., 0]
    model = slices * views.images.transfer * torch.polar(torch.ones_like(angle), angle)
    y = views.images.samples
    expected = (y.abs() ** 2 - (y - model).abs() ** 2).sum(1) / views.noise_variance
    unit = 2 * math.pi / plane.box_px
    images = row_samples(views.images, views.weights)
    poses = truth.rotations[:, None, None], truth.shifts_px[:, None] * unit
    scores, _ = reference_score_children(views.block, 2, *poses, images, plane.radius_px, torch.zeros(1))
    torch.testing.assert_close(scores[:, 0, 0], expected, rtol=1e-3, atol=1e-2)


def test_best_shift_agrees_with_reference_best_shift() -> None:
    scores = torch.randn(3, 49, 70, generator=torch.Generator().manual_seed(0)).bfloat16()
    best, place = hierarchical_kernels.best_shift(scores)
    expected, where = reference_best_shift(scores)
    assert torch.equal(best, expected)
    assert torch.equal(scores.float().gather(1, place[:, None])[:, 0], expected)
    assert (place <= where).all()


CONFIG = HierarchicalConfig(l_start=6, l_end=RADIUS, n_iter=3, t_extent=4, t_n_grid=3)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_true_pose_is_found_within_the_final_step(noise: float) -> None:
    views = make_views(count=120, box=BOX, radius=RADIUS, noise=noise, seed=3)
    found = searched(views, CONFIG)
    rotations, shifts_px, scores = found.best
    step_deg = 60 / 2 ** (CONFIG.base_healpy + CONFIG.n_iter)
    error = geodesic_deg(rotations, views.truth.rotations)
    assert float(error.median()) < step_deg
    assert float((error < 3 * step_deg).float().mean()) > 0.9
    step_px = float(shift_axis(CONFIG, 3)[1] - shift_axis(CONFIG, 3)[0])
    miss = (shifts_px - views.truth.shifts_px).norm(dim=1)
    assert float(miss.median()) < max(step_px, 0.15)
    assert found.rotations.shape == (120, 8, 3, 3)
    assert (found.scores.diff(dim=1) <= 0).all()
    torch.testing.assert_close(found.margin, scores - found.scores[:, 1])


def test_it_finds_the_optimum_of_an_exhaustive_search() -> None:
    """Of 36,864 rotations at 7.5 degrees it looks at 576 and 2 x 64, the first at low resolution."""
    views = make_views(count=100, box=BOX, radius=RADIUS, noise=1.0, seed=5)
    plane = views.images.plane
    # Shifts taken out: what is compared is the search over rotations.
    angle = -2 * math.pi / BOX * (views.truth.shifts_px @ plane.frequencies.float().T)
    centred = views.images.samples * torch.polar(torch.ones_like(angle), angle)
    views = replace(views, images=ImageSamples(centred, views.images.transfer, plane))
    config = HierarchicalConfig(
        l_start=6, l_end=RADIUS, n_iter=2, base_healpy=1, no_trans_search_at_pose_search=True
    )
    found = searched(views, config)
    assert float(found.shifts_px.abs().max()) == 0
    every = whole_grid(1, 3)
    weighted, power = (part.flatten(1) for part in row_samples(views.images, views.weights))
    index = plane.frequencies[:, 0] * (2 * RADIUS + 1) + plane.frequencies[:, 1] + RADIUS
    scores = []
    for part in every.split(4096):
        slices = slice_block(views.block, part, plane.frequencies)[..., 0]
        cross = (weighted[:, index] @ slices.conj().T).real
        scores.append(cross - 0.5 * power[:, index] @ (slices.abs() ** 2).T)
    optimum = torch.cat(scores, 1).max(1)
    assert (found.scores[:, 0] <= optimum.values * (1 + 1e-4)).all()
    same = geodesic_deg(found.best[0], every[optimum.indices]) < 0.1
    assert float(same.float().mean()) >= 0.95


def test_shifts_are_searched_about_the_given_centre() -> None:
    views = make_views(count=6, box=BOX, radius=RADIUS, seed=3)
    fixed = replace(CONFIG, no_trans_search_at_pose_search=True, t_x_shift=1.0, t_y_shift=-2.0)
    assert torch.equal(searched(views, fixed).best[1], torch.tensor([1.0, -2.0]).expand(6, 2))
    moved = replace(CONFIG, t_x_shift=30.0)
    assert float(searched(views, moved).best[1][:, 0].min()) > 20


def test_no_images_give_no_poses() -> None:
    views = make_views(count=2, box=BOX, radius=RADIUS)
    none = ImageSamples(views.images.samples[:0], views.images.transfer[:0], views.images.plane)
    batch = ImageBatch(none.samples[:, : len(CONFIG.plane)], none.transfer[:, : len(CONFIG.plane)])
    assert len(hierarchical_search(views.block, none, batch, views.weights, CONFIG)) == 0


def test_parameters_that_make_no_sense_get_a_sentence() -> None:
    with pytest.raises(InputError, match="l_start"):
        HierarchicalConfig(l_start=20, l_end=10)
    with pytest.raises(InputError, match="n_kept_poses"):
        HierarchicalConfig(n_kept_poses=0)
    views = make_views(count=2, box=BOX, radius=RADIUS)
    with pytest.raises(InputError, match="hold frequencies up to 16"):
        searched(views, replace(CONFIG, l_end=20))
    with pytest.raises(InputError, match="were cut at 14"):
        searched(views, replace(CONFIG, l_end=16))

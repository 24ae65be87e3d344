"""Adaptive oversampling: the significant poses, their children, and scores against a slow sum."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from _views import make_views, molecule_maps

from nunatak.geometry.rotations import geodesic_deg
from nunatak.geometry.so3_grid import rotation_grid
from nunatak.projection.gridding import block_from_maps
from nunatak.projection.operator import slice_block
from nunatak.search.marginal import ImageBatch, shift_phases, trial_shifts
from nunatak.search.oversampling import (
    MOST_SIGNIFICANT,
    Hypotheses,
    normalised,
    oversampled,
    score_fine,
    significant_poses,
)
from nunatak.search.polar import polar_plane
from nunatak.search.pose_grid import weighted_images
from nunatak.search.slice_bank import slice_bank

BOX, RADIUS = 24, 9


def some_hypotheses(count: int, images: int) -> Hypotheses:
    generator = torch.Generator().manual_seed(2)
    draw = lambda below: torch.randint(below, (count,), generator=generator)  # noqa: E731
    shifts_px = torch.randn(count, 2, generator=generator)
    return Hypotheses(draw(images), draw(2), draw(576), shifts_px)


def test_children_surround_their_parents() -> None:
    parents = some_hypotheses(50, 5)
    rotations, shifts_px = oversampled(parents, order=1, in_plane=12, step_px=1.0)
    assert rotations.shape == (50, 8, 3, 3)
    assert shifts_px.shape == (50, 4, 2)
    torch.testing.assert_close(shifts_px.mean(1), parents.shifts_px)
    torch.testing.assert_close((shifts_px - parents.shifts_px[:, None]).abs(), torch.full((50, 4, 2), 0.25))
    centre = rotation_grid(1).rotations()[parents.poses]
    away = geodesic_deg(rotations, centre[:, None].expand_as(rotations))
    assert float(away.min()) > 5
    assert float(away.max()) < 30


def test_fine_scores_are_those_of_a_slow_sum() -> None:
    """The class's own map, the image's own samples: written out for each child."""
    views = make_views(count=5, box=BOX, radius=RADIUS, noise=0.5)
    blocks = [views.block, block_from_maps(molecule_maps(BOX, width_px=2.0), RADIUS)]
    images, chosen = weighted_images(views.images, views.weights), some_hypotheses(30, 5)
    children = oversampled(chosen, 1, 12, 1.0)
    scores = score_fine(blocks, images, chosen, children)
    plane, expected = views.images.plane, torch.zeros_like(scores)
    for h in range(30):
        row, block = chosen.rows[h], blocks[chosen.classes[h]]
        for c in range(8):
            view = slice_block(block, children[0][h, c][None], plane.frequencies)[0, :, 0]
            for s in range(4):
                angle = 2 * math.pi / BOX * (plane.frequencies.float() @ children[1][h, s])
                model = views.images.transfer[row] * view * torch.polar(torch.ones_like(angle), angle)
                y = views.images.samples[row]
                gain = (y.abs() ** 2 - (y - model).abs() ** 2).sum() / views.noise_variance
                expected[h, c, s] = gain
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=2e-2)


def test_a_class_without_hypotheses_changes_no_scores() -> None:
    """Of a few images none may have one in some class."""
    views = make_views(count=3, box=BOX, radius=RADIUS, noise=0.5)
    images, chosen = weighted_images(views.images, views.weights), some_hypotheses(10, 3)
    chosen = replace(chosen, classes=torch.zeros_like(chosen.classes))
    children = oversampled(chosen, 1, 12, 1.0)
    alone = score_fine([views.block], images, chosen, children)
    assert torch.equal(score_fine([views.block, views.block], images, chosen, children), alone)


def test_weights_are_posteriors_over_each_images_hypotheses() -> None:
    rows = torch.tensor([0, 0, 2, 2, 2])
    scores = torch.randn(5, 8, 4, generator=torch.Generator().manual_seed(3)) * 50
    weights, evidence = normalised(scores, rows, 3)
    for row in (0, 2):
        own = scores[rows == row]
        torch.testing.assert_close(weights[rows == row].flatten(), torch.softmax(own.flatten(), 0))
        torch.testing.assert_close(evidence[row], torch.logsumexp(own.flatten(), 0))


def test_the_significant_poses_hold_the_fraction_and_no_more_than_needed() -> None:
    views = make_views(count=6, box=BOX, radius=RADIUS, noise=2.0, seed=7)
    grid = rotation_grid(1)
    plane = polar_plane(RADIUS, grid.in_plane_count)
    generator = torch.Generator().manual_seed(5)
    samples = torch.randn(6, len(plane), dtype=torch.complex64, generator=generator)
    batch = ImageBatch(samples, torch.ones(6, len(plane)) * 0.2)
    shifts = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    trials = trial_shifts(shifts, shift_phases(shifts, plane, BOX), 2.0)
    banks = [slice_bank(views.block, grid, plane, torch.float32)] * 2
    log_weights = torch.tensor([0.7, 0.3]).log()
    kept, evidence = significant_poses(banks, batch, trials, log_weights, 0.5)
    table = []
    for bank, log_weight in zip(banks, log_weights, strict=True):
        norm = bank.norms(batch.transfer**2).transpose(1, 2).flatten(1)
        products = bank.products(batch.samples * batch.transfer, trials.phases)
        table.append(products - norm[:, None] + trials.log_prior[:, None] + log_weight)
    posterior = torch.softmax(torch.stack(table, 1).flatten(1), 1)
    assert evidence.shape == (6,)
    for row in range(6):
        mine = kept.rows == row
        count = int(mine.sum())
        held = posterior[row].sort(descending=True).values.cumsum(0)
        needed = int((held < 0.5).sum()) + 1
        assert count == min(needed, MOST_SIGNIFICANT)
        shift = (kept.shifts_px[mine][:, 0] > 0.5).long()
        place = (kept.classes[mine] * 2 + shift) * 576 + kept.poses[mine]
        assert float(posterior[row, place].sum()) >= min(0.5, float(held[MOST_SIGNIFICANT - 1])) - 1e-5

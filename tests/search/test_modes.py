"""Modes are the best poses of the grid, apart from each other."""

from __future__ import annotations

import math

import pytest
import torch

from nunatak.geometry.rotations import geodesic_deg
from nunatak.geometry.so3_grid import rotation_grid, shift_disk
from nunatak.projection.gridding import block_from_maps
from nunatak.search.marginal import ImageBatch, shift_phases, trial_shifts
from nunatak.search.modes import pose_modes
from nunatak.search.polar import polar_plane
from nunatak.search.slice_bank import SliceBank, slice_bank
from nunatak.volumes.maps import soft_sphere

RADIUS, BOX, APART = 8, 20, 40.0
GRID = rotation_grid(1)
PLANE = polar_plane(RADIUS, GRID.in_plane_count)


def bank_of(maps: torch.Tensor) -> SliceBank:
    return slice_bank(block_from_maps(maps, RADIUS), GRID, PLANE, torch.float32)


def random_map(seed: int) -> torch.Tensor:
    noise = torch.randn(1, BOX, BOX, BOX, generator=torch.Generator().manual_seed(seed))
    return noise * soft_sphere(BOX, 7.0, 2.0)


def batch_at(bank: SliceBank, poses: list[int]) -> ImageBatch:
    """Clean images of the grid's own slices, not shifted, without a CTF."""
    turns = bank.features[poses]
    samples = torch.complex(*turns.split(len(PLANE), 1))
    return ImageBatch(samples, torch.ones(len(poses), len(PLANE)))


TRIALS = trial_shifts(shift_disk(3.0, 1.5), shift_phases(shift_disk(3.0, 1.5), PLANE, BOX), 2.0)


def test_the_first_mode_is_the_best_pose_and_the_others_are_apart() -> None:
    bank, poses = bank_of(random_map(1)), [5, 100, 333]
    found = pose_modes(bank, batch_at(bank, poses), TRIALS, 4, APART)
    assert found.pose_rows[:, 0].tolist() == poses
    assert found.shift_rows[:, 0].tolist() == [0, 0, 0]
    assert bool((found.scores.diff(dim=1) <= 0).all())
    rotations = GRID.rotations()[found.pose_rows]
    for first in range(4):
        for second in range(first):
            assert float(geodesic_deg(rotations[:, first], rotations[:, second]).min()) > APART


def test_modes_are_those_of_every_score_compared() -> None:
    bank = bank_of(random_map(2))
    batch = batch_at(bank, [7])
    found = pose_modes(bank, batch, TRIALS, 2, APART)
    products = bank.products(batch.samples, TRIALS.phases) + TRIALS.log_prior[:, None]
    scores = products[0].amax(0) - bank.norms(batch.transfer**2)[0].T.flatten()
    rotations = GRID.rotations()
    far = geodesic_deg(rotations, rotations[int(scores.argmax())]) > APART
    expected = float(torch.where(far, scores, -math.inf).max())
    assert float(found.scores[0, 1]) == pytest.approx(expected, rel=1e-5)


def test_a_map_of_twofold_symmetry_has_two_equal_modes() -> None:
    one = random_map(3)
    turned = torch.roll(one.flip(-1, -2), (1, 1), (-1, -2))
    bank = bank_of(one + turned)
    found = pose_modes(bank, batch_at(bank, [40, 200]), TRIALS, 2, APART)
    assert torch.allclose(found.scores[:, 0], found.scores[:, 1], rtol=1e-3)
    rotations = GRID.rotations()[found.pose_rows]
    assert bool((geodesic_deg(rotations[:, 0], rotations[:, 1]) > 170).all())


def test_where_the_grid_holds_no_more_scores_are_minus_infinity() -> None:
    """No more than four rotations, a first one and half turns about three axes, are 170 degrees apart."""
    bank = bank_of(random_map(4))
    found = pose_modes(bank, batch_at(bank, [0]), TRIALS, 6, 170.0)
    held = torch.isfinite(found.scores[0])
    assert 1 < int(held.sum()) <= 4
    assert not bool(held[int(held.sum()) :].any())

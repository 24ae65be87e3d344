"""Poses that are half a turn off are found again; those that are right stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from _small_runs import small_context, small_set, true_model

from nunatak.geometry.rotations import geodesic_deg, rotation_from_vector
from nunatak.geometry.so3_grid import tangent_offsets
from nunatak.reconstruct.model import Model, SearchPlan, maximize
from nunatak.reconstruct.second_look import best_of_rows, look_again
from nunatak.reconstruct.state import Context
from nunatak.search.local import LocalPrior

COUNT, RADIUS = 240, 9


def looked(snr: float) -> tuple[Model, Model, torch.Tensor, float]:
    """The model at true poses, the one found after a third of the poses were turned, and which."""
    cache, truth = small_set(COUNT, 24, snr)
    context: Context = small_context(cache, healpix_order=2, radius_end_px=RADIUS)
    right = maximize(true_model(context, truth, RADIUS), cache, RADIUS + 2, context.mask_fraction, True)
    wrong = torch.arange(COUNT) % 3 == 0
    turn = rotation_from_vector(torch.tensor([[torch.pi, 0.0, 0.0]], dtype=torch.float64)).float()
    poses = right.candidates.rotations.clone()
    poses[wrong] = turn @ poses[wrong]
    begun = replace(right, candidates=replace(right.candidates, rotations=poses))
    plan = SearchPlan(RADIUS, tangent_offsets(6.0)[:7], 3, LocalPrior(shift_sd_px=2.0))
    found, fraction = look_again(begun, context, RADIUS, plan)
    return right, found, wrong, fraction


def test_half_turns_are_found_and_right_poses_stay() -> None:
    right, found, wrong, fraction = looked(2.0)
    error = geodesic_deg(found.candidates.rotations, right.candidates.rotations)
    assert float((error[wrong] < 12).float().mean()) > 0.9
    assert float((error[~wrong] < 12).float().mean()) > 0.97
    assert fraction == pytest.approx(1 / 3, abs=0.05)
    assert torch.equal(found.candidates.rows, torch.arange(COUNT))


def test_the_best_of_each_row_and_the_first_of_equals() -> None:
    evidence = torch.tensor([1.0, 2.0, 0.0, 3.0, 2.0, 0.0])
    rows = torch.tensor([0, 1, 2, 0, 1, 2])
    assert best_of_rows(evidence, rows, 3).tolist() == [3, 1, 2]

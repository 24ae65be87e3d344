"""Nested cells of poses, exhaustive search over them, and branch and bound, which must find the same."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from _views import Views, make_views
from torch import Tensor

from nunatak.core.errors import InputError
from nunatak.geometry.rotations import geodesic_deg
from nunatak.projection.operator import slice_block
from nunatak.search.branch_and_bound import (
    BranchConfig,
    BranchResult,
    Cells,
    branch_and_bound_search,
    children_of,
)
from nunatak.search.exhaustive import exhaustive_search
from nunatak.search.hierarchical import row_samples
from nunatak.search.pose_grid import FoundPoses, PoseGrid, coarsest_shift_step_px

BOX, RADIUS = 28, 12
GRID = PoseGrid(order=3, base_order=1, shift_extent_px=2.0, shift_step_px=1.0)


@lru_cache(maxsize=4)
def views(count: int = 12, noise: float = 1.0) -> Views:
    return make_views(count=count, box=BOX, radius=RADIUS, noise=noise, seed=3)


@lru_cache(maxsize=4)
def exhaustive(noise: float) -> FoundPoses:
    seen = views(noise=noise)
    return exhaustive_search(seen.block, seen.images, seen.weights, GRID)


def test_the_grids_are_the_lectures() -> None:
    """Rotations at 15, 7.5, 3.75, 1.88 and 0.94 degrees."""
    counts = [PoseGrid(order, 2).rotation_count(order) for order in range(2, 7)]
    assert counts == [4608, 36864, 294912, 2359296, 18874368]
    assert PoseGrid(2, 2, 4.0, 1.0).candidates == 4608 * 64
    with pytest.raises(InputError, match="cannot begin"):
        PoseGrid(1, 2)


def test_every_pose_lies_in_one_cell_of_each_level() -> None:
    """Shift cells of a level are halves of the one before: their centres are means of their children's."""
    fine, coarse = GRID.shifts_px(3), GRID.shifts_px(2)
    assert len(fine) == 4 * len(coarse)
    steps = GRID.shifts_per_axis(3)
    halves = fine[:, 0].view(steps, steps)[:, 0].view(-1, 2)
    torch.testing.assert_close(halves.mean(1), coarse[:: GRID.shifts_per_axis(2), 0])
    assert float(fine.max()) >= GRID.shift_extent_px - GRID.shift_step_px / 2
    assert GRID.rotations(3).shape == (36864, 3, 3)
    assert PoseGrid(3, 2, 0.0).shifts_px(3).tolist() == [[0.0, 0.0]]


def test_shift_cells_stay_as_small_as_the_root_radius_asks() -> None:
    """A quarter turn of phase at most between a cell's centre and its edge; then only rotations divide."""
    grid = PoseGrid(4, 2, 4.0, 1.0, coarsest_shift_step_px(64, 16))
    assert [grid.shift_step_at(order) for order in (2, 3, 4)] == [2, 2, 1]
    assert [grid.shifts_per_axis(order) for order in (2, 3, 4)] == [4, 4, 8]
    assert [grid.shifts_divide(order) for order in (2, 3)] == [False, True]
    root = Cells(torch.tensor([5]), torch.tensor([3]), torch.tensor([[1, 2]]))
    children = children_of(root, grid, 2)
    assert len(children) == 8
    assert children.shift_cells.unique(dim=0).tolist() == [[1, 2]]
    assert children_of(root, grid, 3).shift_cells.unique(dim=0).tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]


def test_the_optimum_is_found_where_only_rotations_divide() -> None:
    seen, grid = views(count=6), PoseGrid(3, 1, 2.0, 1.0, 1.0)
    found = branch_and_bound_search(
        seen.block, seen.images, seen.weights, BranchConfig(grid, l_start=6)
    ).found
    every = exhaustive_search(seen.block, seen.images, seen.weights, grid)
    assert float(geodesic_deg(found.rotations, every.rotations).max()) < 0.05
    assert torch.equal(found.shifts_px, every.shifts_px)


def test_scores_are_log_likelihoods_against_noise() -> None:
    """The same number as a sum written out, at the pose that was found."""
    seen, found = views(), exhaustive(1.0)
    plane = seen.images.plane
    slices = slice_block(seen.block, found.rotations, plane.frequencies)[..., 0]
    angle = 2 * torch.pi / BOX * (found.shifts_px @ plane.frequencies.float().T)
    model = seen.images.transfer * slices * torch.polar(torch.ones_like(angle), angle)
    squares = (seen.images.samples.abs() ** 2 - (seen.images.samples - model).abs() ** 2).sum(1)
    torch.testing.assert_close(found.scores, squares / seen.noise_variance, rtol=1e-3, atol=0.05)
    weighted, _ = row_samples(seen.images, seen.weights)
    assert weighted.shape[0] == len(found)


def test_the_exhaustive_search_finds_the_pose_to_the_grids_step() -> None:
    seen, found = views(noise=0.3), exhaustive(0.3)
    error = geodesic_deg(found.rotations, seen.truth.rotations)
    assert float(error.median()) < 6
    assert float(error.quantile(0.75)) < 8
    assert float((found.shifts_px - seen.truth.shifts_px).norm(dim=1).median()) < 0.8
    assert (found.evaluations == GRID.candidates).all()


class Watcher:
    """Whether the cell of the exhaustive optimum was among those accepted, at every level."""

    def __init__(self, optimum: FoundPoses) -> None:
        place = (GRID.rotations(GRID.order).flatten(1) @ optimum.rotations.flatten(1).T).argmax(0)
        turns, half = 6 * 2**GRID.order, (GRID.shifts_per_axis(GRID.order) - 1) / 2
        self.pixels, self.turns = place // turns, place % turns
        self.shift_cells = (optimum.shifts_px / GRID.shift_step_px + half).round().long()
        self.lost: list[tuple[int, int]] = []
        self.seen = 0

    def __call__(self, row: int, order: int, cells: Cells) -> None:
        up = GRID.order - order
        inside = (cells.pixels == self.pixels[row] >> 2 * up) & (cells.turns == self.turns[row] >> up)
        inside &= (cells.shift_cells == self.shift_cells[row] >> up).all(1)
        self.seen += 1
        if not inside.any():
            self.lost.append((row, order))


def bounded(noise: float, config: BranchConfig) -> tuple[BranchResult, Watcher]:
    seen, watcher = views(noise=noise), Watcher(exhaustive(noise))
    result = branch_and_bound_search(seen.block, seen.images, seen.weights, config, watch=watcher)
    return result, watcher


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_the_accepted_set_holds_the_exhaustive_optimum(noise: float) -> None:
    """At every level, at a signal far above the noise and at one as strong; and so the same pose is found."""
    optimum = exhaustive(noise)
    result, watcher = bounded(noise, BranchConfig(GRID, l_start=6))
    assert watcher.seen == 2 * len(optimum)
    assert watcher.lost == []
    assert float(geodesic_deg(result.found.rotations, optimum.rotations).max()) < 0.05
    assert torch.equal(result.found.shifts_px, optimum.shifts_px)
    torch.testing.assert_close(result.found.scores, optimum.scores, rtol=1e-4, atol=1e-3)


def test_poses_are_rejected_and_counted() -> None:
    result, _ = bounded(0.3, BranchConfig(GRID, l_start=6))
    assert result.rejected_fraction[1] > 0.9
    root = GRID.rotation_count(1) * GRID.shifts_per_axis(1) ** 2
    assert (result.visited[:, 0] == root).all()
    # 8 rotations times 4 shifts of each that was accepted.
    assert torch.equal(result.visited[:, 1], 32 * result.accepted[:, 0])
    assert float(result.found.evaluations.double().mean()) < 0.2 * GRID.candidates


def test_a_bound_that_allows_for_nothing_loses_the_optimum() -> None:
    """The test above can fail: without allowances for noise and for the extent of cells, poses are lost."""
    _, watcher = bounded(1.0, BranchConfig(GRID, l_start=6, sigmas=-4.0, quantile=0.0))
    assert len(watcher.lost) > 0


def test_a_grid_of_one_level_is_searched_exhaustively() -> None:
    seen, flat = views(count=6), PoseGrid(2, 2, 2.0, 1.0)
    found = branch_and_bound_search(seen.block, seen.images, seen.weights, BranchConfig(flat)).found
    every: Tensor = exhaustive_search(seen.block, seen.images, seen.weights, flat).rotations
    assert torch.equal(found.rotations, every)

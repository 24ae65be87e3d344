"""The cost model against the clock: no step is faster than its ceiling, none is far slower, and it scales."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from _small_runs import small_context, small_set, true_model

from nunatak.projection.gridding import block_from_maps
from nunatak.reconstruct import cost
from nunatak.reconstruct.consensus import ConsensusConfig, PolarImages
from nunatak.reconstruct.cost import Ceilings, Cost
from nunatak.reconstruct.model import SearchPlan, expect, maximize, particle_sums
from nunatak.search.local import LocalPrior
from nunatak.search.marginal import marginal_step, trial_shifts
from nunatak.search.slice_bank import slice_bank

BOX_PX, COUNT = 48, 96
# Times the ceiling. Measured on an AVX-512 core beside other work (docs/performance.md): the search, whose
# ceiling is that of the product it is made of, 5; gathers and scatters, which no product is like, 80 to 190.
SLOWEST_PRODUCT, SLOWEST_GATHER = 40.0, 500.0


def cpu_s(step: Callable[[], object], repeat: int = 3) -> float:
    """Least processor time of a step, which other programs do not lengthen as they do the wall's."""
    step()
    found = []
    for _ in range(repeat):
        began = time.process_time()
        step()
        found.append(time.process_time() - began)
    return min(found)


@pytest.fixture(scope="module")
def ceilings() -> Ceilings:
    """Of this machine with one thread: a float32 product and a copy, both larger than any cache."""
    torch.set_num_threads(1)
    a, b = (torch.randn(768, 768, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    source = torch.zeros(1 << 25)
    target = torch.empty_like(source)
    product_s, copy_s = cpu_s(lambda: a @ b), cpu_s(lambda: target.copy_(source))
    return Ceilings(2 * 768**3 / product_s, 2 * 4 * len(source) / copy_s)


def check(measured_s: float, counted: Cost, machine: Ceilings, slowest: float) -> None:
    least_s = counted.least_s(machine)
    assert least_s < measured_s < slowest * least_s, f"{measured_s / least_s:.2f} times the ceiling"


def search_s(radius_px: int, order: int) -> tuple[float, Cost]:
    """Processor time and cost of a global search of all images."""
    cache, _ = small_set(COUNT, BOX_PX, 1.0)
    context = small_context(cache)
    config = ConsensusConfig(
        radius_start_px=8, radius_end_px=radius_px, healpix_order=order, shift_extent_px=1.5
    )
    images = PolarImages(cache, context.noise_variance, config)
    plane = images.plane.within(radius_px)
    maps = torch.randn(
        1, images.box_px, images.box_px, images.box_px, generator=torch.Generator().manual_seed(2)
    )
    bank = slice_bank(block_from_maps(maps, radius_px), images.grid, plane, torch.float32)
    trials = trial_shifts(images.shifts_px, images.phases[:, : len(plane)].contiguous(), 1.0)
    batch = images.batch(torch.arange(COUNT), radius_px)
    spent = cpu_s(lambda: marginal_step(bank, batch, trials))
    directions, turns = len(images.grid.directions), images.grid.in_plane_count
    return spent, cost.global_search(radius_px, directions, turns, len(images.shifts_px), True) * COUNT


def test_the_global_search_keeps_to_its_ceiling(ceilings: Ceilings) -> None:
    check(*search_s(12, 2), ceilings, SLOWEST_PRODUCT)


def test_local_evaluations_and_insertions_keep_to_theirs(ceilings: Ceilings) -> None:
    cache, truth = small_set(COUNT, BOX_PX, 1.0)
    context = small_context(cache)
    spent: dict[int, tuple[float, float]] = {}
    for radius_px in (8, 16):
        model = maximize(true_model(context, truth, radius_px), cache, radius_px, 0.42, True)
        still = SearchPlan(radius_px, torch.zeros(1, 3), 4, LocalPrior())
        search = cpu_s(lambda model=model, still=still: expect(model, cache, still))
        rows = torch.arange(COUNT)
        insert = cpu_s(lambda model=model, r=radius_px, rows=rows: particle_sums(model, cache, r, rows))
        spent[radius_px] = search, insert
    check(spent[16][0], cost.local_evaluation(16, 0) * (5 * COUNT), ceilings, SLOWEST_GATHER)
    check(spent[16][1], cost.insertion(16, 0) * COUNT, ceilings, SLOWEST_GATHER)
    # Four times the samples are at most four times the work, up to rounding, and clearly more than the same.
    for small, large in zip(spent[8], spent[16], strict=True):
        assert 1.2 < large / small < 10


def test_cost_grows_as_it_is_said_to() -> None:
    """Samples with the square of the radius, poses with the cube of the grid's fineness, K maps K times."""
    base = cost.global_search(16, 192, 24, 29, True)
    finer = cost.global_search(16, 768, 48, 29, False)
    assert finer.flop / cost.global_search(16, 192, 24, 29, False).flop == pytest.approx(8, rel=0.01)
    assert cost.global_search(16, 192, 24, 29, True, maps=3).flop == pytest.approx(3 * base.flop)
    assert cost.global_search(16, 192, 24, 29, False).flop / base.flop > 5
    assert cost.local_evaluation(32, 2).flop == pytest.approx(4 * cost.local_evaluation(16, 2).flop)
    one, some = cost.refinement_pass(20, 4, 1, 2), cost.refinement_pass(20, 4, 19, 2)
    assert (some.flop - one.flop) / cost.local_evaluation(20, 4).flop == pytest.approx(19)
    assert cost.samples_within(20) == pytest.approx(628, abs=1)
    assert cost.image_bytes(63) == pytest.approx(75e3, rel=0.01)

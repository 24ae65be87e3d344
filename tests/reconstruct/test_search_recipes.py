"""Recipes by projection matching find the built-in molecule, each to the step of its grid.

400 images of 32 px at an SNR of 0.7; all begin from one map of random starts, and are judged by what they
make of it. On a grid of 7.5 degrees the nearest rotation is 3.6 degrees away on average.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from _small_runs import small_set

from nunatak.core.errors import InputError
from nunatak.metrics.pose_error import align_frames, fit_origin_A, shift_error_A
from nunatak.reconstruct import parts, searching
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.loop import run
from nunatak.reconstruct.recipes import find_recipe
from nunatak.reconstruct.searching import marching_radius, order_of, pose_grid
from nunatak.reconstruct.stages import Part, PoseSource, Recipe
from nunatak.reconstruct.state import Context, Outcome, RunState
from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.dataset import simulate_particles

SEED, COUNT = 4, 400
QUICK = {
    "latent_dim": 0,
    "restarts": 1,
    "start_updates": 30,
    "start_batch": 60,
    "radius_start_px": 6,
    "radius_end_px": 10,
    "shift_extent_px": 3.0,
    "l_start": 6,
    "l_end": 12,
    "search_passes": 2,
    "search_step_deg": 7.5,
    "t_extent": 2.0,
    "t_n_grid": 3,
    "n_iter": 2,
    "base_healpy": 1,
}


@lru_cache(maxsize=1)
def begun() -> tuple[Context, RunState]:
    cache, _ = small_set(COUNT, 32, 0.7, SEED)
    context = Context(cache, EngineConfig(**QUICK, seed=SEED))
    start = Recipe("start", "", PoseSource.FOUND, (parts.random_starts, searching.first_map))
    return context, run(start.plan(context.config), context)


@lru_cache(maxsize=4)
def matched(part: Part) -> RunState:
    context, state = begun()
    rest = Recipe("rest", "", PoseSource.FOUND, (part, parts.final_maps))
    return run(rest.plan(context.config), context, replace(state, stage=0, passes=0))


def pose_errors_deg(state: RunState, seed: int = SEED, count: int = COUNT) -> np.ndarray:
    _, truth = small_set(count, 32, 0.7, seed)
    rotations = state.model.candidates.rotations.double().numpy()
    return align_frames(rotations, truth.rotations.double().numpy()).error_deg


MATCHING = (
    searching.exhaustive_matching,
    searching.branch_and_bound_matching,
    searching.hierarchical_matching,
)


@pytest.mark.parametrize("part", MATCHING)
def test_the_search_finds_the_poses_to_its_step(part: Part) -> None:
    """Measured: 4.9 degrees exhaustively, 5.0 hierarchically."""
    state = matched(part)
    error = pose_errors_deg(state)
    assert float(np.median(error)) < 6.5
    assert float(np.quantile(error, 0.9)) < 15
    assert state.outcome in (Outcome.CONVERGED, Outcome.BUDGET)
    _, truth = small_set(COUNT, 32, 0.7, SEED)
    shifts_A = (state.model.candidates.shifts_px * begun()[0].cache.pixel_size_A).double().numpy()
    true = truth.shifts_A.double().numpy(), truth.rotations.double().numpy()
    off_A = shift_error_A(shifts_A, *true, fit_origin_A(shifts_A, *true))
    assert float(np.median(off_A)) < 0.8 * begun()[0].cache.pixel_size_A


def test_the_history_counts_what_was_compared_and_rejected() -> None:
    grid = pose_grid(begun()[0].config, 32)
    every = [r for r in matched(searching.exhaustive_matching).history if r["stage"] == "exhaustive search"]
    assert {record["evaluations_per_image"] for record in every} == {grid.candidates}
    bounded = [r for r in matched(searching.branch_and_bound_matching).history if "rejected_fraction" in r]
    assert len(bounded) == 2
    for record in bounded:
        assert len(record["rejected_fraction"]) == grid.order - grid.base_order
        assert record["rejected_fraction"][0] > 0.5
        assert record["evaluations_per_image"] < 0.3 * grid.candidates


def test_the_radius_marches_as_published() -> None:
    """Linear ends at l_end; doubling goes on to where the half-sets of the map agree."""
    context, state = begun()
    context = Context(context.cache, EngineConfig(**(QUICK | {"l_start": 3, "l_end": 9, "search_passes": 3})))
    radii = {
        schedule: [marching_radius(replace(state, passes=p), context, schedule) for p in range(3)]
        for schedule in ("linear", "doubling")
    }
    # The map of random starts reaches 10 Fourier pixels.
    assert radii == {"linear": [4, 6, 9], "doubling": [4, 6, 10]}


def test_steps_become_orders() -> None:
    assert [order_of(step) for step in (60, 30, 15, 7.5, 3.75, 1.875)] == [0, 1, 2, 3, 4, 5]
    assert order_of(7.0) == 3


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("hierarchical", {"l_end": 17}, "--l-end 17 is beyond Nyquist: .* --l-end 16 or less"),
        ("exhaustive", {"l_end": 17}, "--l-end 17 is beyond Nyquist"),
        ("exhaustive", {"l_start": 13}, "--l-start 13 lies beyond --l-end 12"),
        ("multiclass", {"classes": 21}, "--classes 21 is more than the 20 particles"),
    ],
)
def test_what_cannot_work_is_refused_before_images_are_read(name: str, changes: dict, said: str) -> None:
    particles, _ = simulate_particles(SimulationConfig(particles=20, box_px=32, snr=1.0))
    config = EngineConfig(**(QUICK | changes))
    with pytest.raises(InputError, match=said):
        find_recipe(name, PoseSource.FOUND).plan(config).check(config, particles)


@pytest.mark.truth
@pytest.mark.parametrize("name", ["exhaustive", "branch-and-bound", "hierarchical"])
@pytest.mark.parametrize("seed", [0, 1])
def test_whole_recipes_find_the_molecule(name: str, seed: int) -> None:
    cache, _ = small_set(1000, 32, 0.7, seed)
    changes = {"restarts": 4, "start_updates": 20, "search_passes": 3}
    config = EngineConfig(**(QUICK | changes), seed=seed)
    state = run(find_recipe(name, PoseSource.FOUND).plan(config), Context(cache, config))
    assert float(np.median(pose_errors_deg(state, seed, 1000))) < 6.5

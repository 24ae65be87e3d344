"""Recipes by projection matching: each pass finds every particle's best pose on a grid, then makes new maps.

Three finders of the best pose share one pass: exhaustive, hierarchical (cryoDRGN2, cryoDRGN-AI) and branch
and bound (cryoSPARC). Each half-set is compared with the map of its own, from the second pass on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nunatak.core.errors import require
from nunatak.geometry.rotations import geodesic_deg
from nunatak.particles.dataset import Particles
from nunatak.projection.gridding import block_from_maps
from nunatak.reconstruct import parts
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.consensus import radius_at
from nunatak.reconstruct.model import (
    Model,
    SearchPlan,
    expect,
    images_within,
    maximize,
    noise_from_residuals,
)
from nunatak.reconstruct.orient import is_structure, orient_pass, pure_noise_objective, structure_gain
from nunatak.reconstruct.stages import PoseSource, Recipe, Stage
from nunatak.reconstruct.starts import winner
from nunatak.reconstruct.state import Context, RunState
from nunatak.search.branch_and_bound import BranchConfig, branch_and_bound_search
from nunatak.search.candidates import without_deviation
from nunatak.search.exhaustive import exhaustive_search
from nunatak.search.hierarchical import HierarchicalConfig, hierarchical_search, polar_batch
from nunatak.search.local import LocalPrior
from nunatak.search.marching import Schedule, frequency_march
from nunatak.search.pose_grid import FoundPoses, PoseGrid, coarsest_shift_step_px
from nunatak.search.published import PUBLISHED_BOX_PX, PublishedParameters
from nunatak.volumes.fsc import first_shell_below, resolution_A
from nunatak.volumes.maps import change_box

IMAGES_AT_ONCE = 1024


@dataclass(frozen=True)
class Trial:
    """Some particles and the map that they are compared with.

    Attributes
    ----------
    block : (m, m, h, 1) complex64
    rows : (n,) int64
    noise_weights : (shells,) float32
        2 / sigma^2.
    radius_px : int
    """

    block: Tensor
    rows: Tensor
    noise_weights: Tensor
    radius_px: int


Notes = dict[str, Any]
Finder = Callable[[Trial, Context, Callable[[float], None]], tuple[FoundPoses, Notes]]
"""Best poses of a trial's particles, and what the history is to say about the search."""


def order_of(step_deg: float) -> int:
    """HEALPix order whose step is nearest to an angle: 15 degrees is 2, 7.5 is 3."""
    return max(0, round(math.log2(60 / step_deg)))


def pose_grid(config: EngineConfig, box_px: int) -> PoseGrid:
    """The grid that a configuration asks for, in pixels of a box."""
    order = order_of(config.search_step_deg)
    unit = box_px / 64
    return PoseGrid(
        order,
        min(2, order),
        config.shift_extent_px * unit,
        config.shift_step_px * unit,
        coarsest_shift_step_px(box_px, config.l_start),
    )


def find_exhaustively(
    trial: Trial, context: Context, progress: Callable[[float], None]
) -> tuple[FoundPoses, Notes]:
    """Every pose of the grid."""
    images = images_within(context.cache, trial.rows, trial.radius_px)
    grid = pose_grid(context.config, context.cache.plane.box_px)
    return exhaustive_search(trial.block, images, trial.noise_weights, grid, progress), {}


def find_by_bound(
    trial: Trial, context: Context, progress: Callable[[float], None]
) -> tuple[FoundPoses, Notes]:
    """The grid's best pose, by branch and bound."""
    images = images_within(context.cache, trial.rows, trial.radius_px)
    grid = pose_grid(context.config, context.cache.plane.box_px)
    config = BranchConfig(grid, min(context.config.l_start, trial.radius_px))
    found = branch_and_bound_search(trial.block, images, trial.noise_weights, config, progress)
    rejected = [round(part, 4) for part in found.rejected_fraction]
    return found.found, {"rejected_fraction": rejected}


def hierarchical_config(config: EngineConfig, radius_px: int, box_px: int) -> HierarchicalConfig:
    """The published parameters of a configuration, with radii that a map reaches, for images of a box."""
    named: dict[str, Any] = {
        name: getattr(config, name, None) for name in PublishedParameters.__dataclass_fields__
    }
    if config.t_extent is None:
        # In pixels it would be another shift in every box, in steps too wide to score with in small ones.
        named["t_extent"] = PublishedParameters.t_extent * box_px / PUBLISHED_BOX_PX
    schedule: Schedule = config.frequency_schedule or "linear"
    end = min(config.l_end, radius_px)
    return HierarchicalConfig(
        **{**named, "schedule": schedule, "l_end": end, "l_start": min(config.l_start, end)}
    )


def find_hierarchically(
    trial: Trial, context: Context, progress: Callable[[float], None]
) -> tuple[FoundPoses, Notes]:
    """Children of the best poses of a coarse grid."""
    images = images_within(context.cache, trial.rows, trial.radius_px)
    config = hierarchical_config(context.config, trial.radius_px, context.cache.plane.box_px)
    here = context.cache.share.local(trial.rows)
    transfer = context.cache.transfer_at(config.plane.frequencies.to(context.device))[here]
    polar = polar_batch(images, transfer, trial.noise_weights, config)
    found = hierarchical_search(
        trial.block, images, polar, trial.noise_weights, config, lambda done: progress(done / len(images))
    )
    taken = config.shifts_per_axis**2 * (72 * 8**config.base_healpy + config.n_iter * 8 * config.n_kept_poses)
    evaluations = torch.full((len(images),), taken, device=context.device)
    return FoundPoses(*found.best, evaluations), {}


def begin_pass(state: RunState, context: Context) -> RunState:
    """The winning start's map as the model, its poses still unknown; or the verdict that there is none."""
    start, label = winner(state)
    gain, error = structure_gain(start, context)
    if not is_structure(gain, error):
        return orient_pass(state, context)
    count = len(context.cache)
    zero = start.maps.new_zeros
    nowhere = torch.eye(3, device=context.device).expand(count, 3, 3).contiguous()
    model = Model(
        start.maps[None],
        radius_at(start.update, context.consensus),
        zero(1, start.maps.shape[-1] // 2),
        without_deviation(nowhere, zero(count, 2)),
        zero(count, 0, 0),
        context.noise_variance,
        context.halves,
        zero(count),
    )
    record = {"restart": label, "structure_gain": gain, "structure_gain_error": error}
    return replace(
        state, model=model, starts=(start,), start_labels=(label,), history=(*state.history, record)
    )


def map_limit(model: Model, context: Context) -> int:
    """The radius that a map can be trusted to: where its half-sets agree, or its own while there are none."""
    if len(model.maps) == 1:
        return min(model.radius_px, context.limit_px)
    agree = first_shell_below(model.correlation[0], 0.143) + 2
    return max(4, min(agree, model.radius_px, context.limit_px))


def marching_radius(state: RunState, context: Context, published: Schedule) -> int:
    """Fourier radius of a pass: its step of the schedule, as far as the map goes."""
    config, limit = context.config, map_limit(state.oriented, context)
    schedule = config.frequency_schedule or published
    # The linear schedule ends at l_end; where doubling ends is for the map to say.
    end = min(config.l_end, limit) if schedule == "linear" else limit
    radii = frequency_march(config.l_start, end, max(config.search_passes - 1, 0), schedule)
    return max(4, radii[min(state.passes, len(radii) - 1)])


def _found_poses(
    model: Model, context: Context, radius_px: int, find: Finder
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """(n, 3, 3) rotations, (n, 2) shifts in pixels, and notes for the history."""
    count, device = len(context.cache), context.device
    rotations = torch.zeros(count, 3, 3, device=device)
    shifts_px = torch.zeros(count, 2, device=device)
    weights, done, taken = 2 / model.noise_variance, 0, 0.0
    notes: dict[str, Any] = {}
    for half, maps in enumerate(model.maps):
        block = block_from_maps(change_box(maps[:1], max(maps.shape[-1], 2 * radius_px + 2)), radius_px)
        every = torch.arange(count, device=device)
        mine = torch.nonzero(model.halves == half).flatten() if len(model.maps) > 1 else every
        for rows in context.cache.share.tiles(mine, IMAGES_AT_ONCE):

            def announce(fraction: float, done: int = done, size: int = len(rows)) -> None:
                context.progress(0.9 * (done + fraction * size) / count)

            found, notes = find(Trial(block, rows, weights, radius_px), context, announce)
            rotations[rows], shifts_px[rows] = found.rotations, found.shifts_px
            done += len(rows)
            taken += float(found.evaluations.double().sum())
    # Rows of other processes are zero here: the sum over all of them has every row.
    rotations, shifts_px, taken = context.cache.share.total((rotations, shifts_px, taken))
    return rotations, shifts_px, {"evaluations_per_image": taken / count, **notes}


def searching(find: Finder, schedule: Schedule | None) -> Callable[[RunState, Context], RunState]:
    """A pass that finds all poses anew.

    Parameters
    ----------
    schedule : "linear", "doubling" or None
        How the radius marches from pass to pass; None where the finder marches within a pass.
    """

    def search_pass(state: RunState, context: Context) -> RunState:
        model = state.oriented
        limit = map_limit(model, context)
        radius = limit if schedule is None else marching_radius(state, context, schedule)
        rotations, shifts_px, notes = _found_poses(model, context, radius, find)
        moved = replace(
            model,
            maps=model.maps[:, :1],
            candidates=without_deviation(rotations, shifts_px),
            covariances=model.covariances[:, :0, :0],
        )
        change = float(geodesic_deg(model.candidates.rotations, rotations).median())
        stay = torch.zeros(1, 3, device=context.device)
        plan = SearchPlan(radius, stay, 0, LocalPrior(pose=False))
        judged, power = expect(moved, context.cache, plan)
        noise = noise_from_residuals(power, context.cache, model.noise_variance)
        reach = min(context.limit_px, radius + 5)
        made = maximize(
            replace(judged, noise_variance=noise), context.cache, reach, context.mask_fraction, False
        )
        record = {
            "radius_px": radius,
            "log_evidence": float(judged.log_evidence.mean())
            + pure_noise_objective(context, model.noise_variance, radius),
            "pose_change_deg": change,
            "fsc_resolution_A": resolution_A(made.correlation[0], context.cache.extent_A),
            **notes,
        }
        return replace(state, model=made, pose_change_deg=change, history=(*state.history, record))

    return search_pass


def require_within_nyquist(config: EngineConfig, particles: Particles) -> None:
    """Raise InputError where the search is to end beyond the images' Nyquist frequency."""
    nyquist = particles.box_px // 2
    require(
        config.l_end <= nyquist,
        f"--l-end {config.l_end} is beyond Nyquist: images of {particles.box_px} pixels hold frequencies up "
        f"to {nyquist} Fourier pixels; give --l-end {nyquist} or less.",
    )
    require_marching(config, particles)


def require_marching(config: EngineConfig, particles: Particles) -> None:
    """Raise InputError where the Fourier radius of a search is to end before it begins."""
    require(
        config.l_start <= config.l_end,
        f"--l-start {config.l_start} lies beyond --l-end {config.l_end}: the radius grows from the first to "
        "the second.",
    )


def first_map(config: EngineConfig) -> tuple[Stage, ...]:
    """The winning start's map, for a search that finds all poses itself."""
    return (Stage("first map", begin_pass, 1, cost=0.2),)


def exhaustive_matching(config: EngineConfig) -> tuple[Stage, ...]:
    """Exhaustive projection matching; the radius grows by equal steps."""
    advance = searching(find_exhaustively, "linear")
    return (
        Stage("exhaustive search", advance, config.search_passes, cost=10.0, check=require_within_nyquist),
    )


def branch_and_bound_matching(config: EngineConfig) -> tuple[Stage, ...]:
    """Branch-and-bound projection matching; the radius doubles up to where the half-sets agree."""
    advance = searching(find_by_bound, "doubling")
    return (Stage("branch and bound", advance, config.search_passes, cost=10.0),)


def hierarchical_matching(config: EngineConfig) -> tuple[Stage, ...]:
    """Hierarchical search; the radius marches within each search."""
    advance = searching(find_hierarchically, None)
    return (
        Stage("hierarchical search", advance, config.search_passes, cost=3.0, check=require_within_nyquist),
    )


def _recipe(name: str, summary: str, matching: Callable[[EngineConfig], tuple[Stage, ...]]) -> Recipe:
    composed = (parts.random_starts, first_map, matching, parts.held_subspace, parts.final_maps)
    return Recipe(name, summary, PoseSource.FOUND, composed)


RECIPES = (
    _recipe("exhaustive", "brute-force projection matching on a full grid of poses", exhaustive_matching),
    _recipe(
        "branch-and-bound",
        "cryoSPARC's bound rejects regions of poses; same optimum",
        branch_and_bound_matching,
    ),
    _recipe(
        "hierarchical",
        "cryoDRGN2's pose search, coarse to fine, ten published parameters",
        hierarchical_matching,
    ),
)

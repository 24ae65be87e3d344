"""Multi-class expectation-maximisation with soft classes and poses (Scheres 2012), from a single map.

As in RELION, the classes begin alike: the particles of the first pass, oriented by one map, are divided at
random, and what that does to the maps is what expectation-maximisation sorts out. Each pass is a coarse
posterior over classes, rotations and shifts, then the children of the poses that hold most of it
(nunatak.search.oversampling); all of them go into the maps with their weights, and the prior of each map is
the signal-to-noise that its two half-sets agree on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nunatak.core.errors import require
from nunatak.latent.classes import simplex
from nunatak.particles.dataset import Particles
from nunatak.projection.gridding import block_from_maps
from nunatak.projection.operator import insert_block
from nunatak.reconstruct import parts, searching
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.model import (
    full_correlation,
    images_within,
    smooth_correlation,
)
from nunatak.reconstruct.passes import CLASSES
from nunatak.reconstruct.solving import correlation_ridge
from nunatak.reconstruct.stages import PoseSource, Recipe, Stage
from nunatak.reconstruct.state import Context, RunState
from nunatak.search.candidates import without_deviation
from nunatak.search.marginal import trial_shifts
from nunatak.search.oversampling import (
    FinePoses,
    Hypotheses,
    normalised,
    oversampled,
    score_fine,
    significant_poses,
)
from nunatak.search.pose_grid import WeightedImages, centring_phases, weighted_images
from nunatak.search.slice_bank import SliceBank, scoring_dtype, slice_bank
from nunatak.volumes.fsc import first_shell_below, shell_correlation
from nunatak.volumes.maps import change_box, soft_sphere, working_box
from nunatak.volumes.wiener import FourierSums, empty_sums, solve_maps

IMAGES_AT_ONCE = 16
LEAST_WEIGHT = 1e-4
"""Fine poses of a smaller posterior weight are left out of the maps."""


@dataclass(frozen=True)
class _Step:
    """What one expectation step knows: maps of the classes, their priors, and where samples end."""

    maps: Tensor
    log_weights: Tensor
    shift_sd_px: float
    coarse_px: int
    fine_px: int


_Sums = list[list[FourierSums]]
"""Per half-set, per class."""


@dataclass
class _Gathered:
    """Sums over images, per half-set and class, and a summary of each image."""

    sums: _Sums
    responsibilities: Tensor
    rotations: Tensor
    shifts_px: Tensor
    evidence: Tensor
    kept: float = 0.0


def _banks(step: _Step, context: Context) -> list[SliceBank]:
    plane = context.polar.plane.within(step.coarse_px)
    blocks = [block_from_maps(maps[None], int(context.polar.plane.rings.max())) for maps in step.maps]
    return [slice_bank(block, context.polar.grid, plane, scoring_dtype(block.device)) for block in blocks]


def _insert(
    gathered: _Gathered, images: WeightedImages, found: tuple[Hypotheses, FinePoses, Tensor], halves: Tensor
) -> None:
    """Add some images at their fine poses to the sums."""
    hypotheses, fine, weights = found
    per_rotation = weights.sum(2)
    for label, per_class in enumerate(gathered.sums):
        for number, sums in enumerate(per_class):
            mine = (hypotheses.classes == number) & (halves[hypotheses.rows] == label)
            chosen = (per_rotation > LEAST_WEIGHT) & mine[:, None]
            h, c = torch.nonzero(chosen, as_tuple=True)
            if not len(h):
                continue
            rows = hypotheses.rows[h]
            phases = centring_phases(fine.shifts_px[h], images.plane)
            mixed = (weights[h, c][..., None] * phases).sum(1)
            rotations, frequencies = fine.rotations[h, c].contiguous(), images.plane.frequencies
            numerator = insert_block(
                (images.weighted[rows] * mixed)[..., None], rotations, frequencies, sums.shape
            )
            power = images.power[rows] * per_rotation[h, c][:, None]
            denominator = insert_block(power[..., None], rotations, frequencies, sums.shape)
            per_class[number] = sums + FourierSums(numerator, denominator, sums.radius_px)


def _best(found: tuple[Hypotheses, FinePoses, Tensor], count: int) -> tuple[Tensor, Tensor]:
    """(count, 3, 3) rotations and (count, 2) shifts of each image's most probable fine pose."""
    hypotheses, fine, weights = found
    top, place = weights.flatten(1).max(1)
    best = top.new_zeros(count).scatter_reduce(0, hypotheses.rows, top, "amax")
    wins = torch.nonzero(top >= best[hypotheses.rows]).flatten()
    # Where two tie, one of them: the last to be written.
    chosen = wins.new_zeros(count).scatter(0, hypotheses.rows[wins], wins)
    shifts = fine.shifts_px.shape[1]
    child = place[chosen]
    return fine.rotations[chosen, child // shifts], fine.shifts_px[chosen, child % shifts]


def _expect(step: _Step, context: Context) -> _Gathered:
    """Posterior over classes and poses of every particle, and the sums that it gives."""
    count, classes, device = len(context.cache), len(step.maps), context.device
    config, polar = context.config, context.polar
    made = working_box(step.fine_px)
    blocks = [block_from_maps(change_box(m[None], made), step.fine_px) for m in step.maps]
    banks = _banks(step, context)
    trials = trial_shifts(
        polar.shifts_px, polar.phases[:, : len(banks[0].plane)].contiguous(), step.shift_sd_px
    )
    gathered = _Gathered(
        [[empty_sums(step.fine_px, 1, device=device) for _ in range(classes)] for _ in range(2)],
        torch.zeros(count, classes, device=device),
        torch.zeros(count, 3, 3, device=device),
        torch.zeros(count, 2, device=device),
        torch.zeros(count, device=device),
    )
    noise_weights, spacing = 2 / context.noise_variance, context.consensus.shift_step_px
    for rows in context.cache.share.tiles(torch.arange(count, device=device), IMAGES_AT_ONCE):
        coarse, _ = significant_poses(
            banks, polar.batch(rows, step.coarse_px), trials, step.log_weights, config.adaptive_fraction
        )
        images = weighted_images(images_within(context.cache, rows, step.fine_px), noise_weights)
        children = oversampled(coarse, polar.grid.order, polar.grid.in_plane_count, spacing)
        scores = score_fine(blocks, images, coarse, children)
        prior = -0.5 * (children[1] ** 2).sum(-1) / step.shift_sd_px**2
        scores = scores + prior[:, None] + step.log_weights[coarse.classes][:, None, None]
        weights, evidence = normalised(scores, coarse.rows, len(rows))
        found = coarse, FinePoses(*children, scores), weights
        _insert(gathered, images, found, context.halves[rows])
        per = weights.sum((1, 2))
        place = coarse.rows * classes + coarse.classes
        shares = per.new_zeros(len(rows) * classes).index_add(0, place, per)
        gathered.responsibilities[rows] = shares.view(len(rows), classes)
        gathered.rotations[rows], gathered.shifts_px[rows] = _best(found, len(rows))
        gathered.evidence[rows] = evidence
        gathered.kept += len(coarse)
        context.progress(float(rows[-1] + 1) / count)
    # Rows of other processes are zero here: the sum over all of them has every row.
    own = gathered.responsibilities, gathered.rotations, gathered.shifts_px, gathered.evidence
    every, kept = context.cache.share.total((own, gathered.kept))
    return _Gathered(_over_all(gathered.sums, context), *every, kept)


def _over_all(sums: _Sums, context: Context) -> _Sums:
    """Sums over the images of all processes."""
    total = context.cache.share.total(tuple(tuple(per_class) for per_class in sums))
    return [list(per_class) for per_class in total]


def _divided(gathered: _Gathered, context: Context, radius_px: int) -> _Sums:
    """Sums of classes that each image was put into at random, at its best pose."""
    classes, count, device = context.config.classes, len(context.cache), context.device
    labels = torch.randint(classes, (count,), generator=context.generator(37)).to(device)
    noise_weights = 2 / context.noise_variance
    divided = [[empty_sums(radius_px, 1, device=device) for _ in range(classes)] for _ in range(2)]
    for half in range(2):
        for number in range(classes):
            mine = torch.nonzero((labels == number) & (context.halves == half)).flatten()
            for rows in context.cache.share.tiles(mine, 1024):
                images = weighted_images(images_within(context.cache, rows, radius_px), noise_weights)
                centred = images.weighted * centring_phases(gathered.shifts_px[rows], images.plane)
                where = gathered.rotations[rows], images.plane.frequencies, divided[half][number].shape
                numerator = insert_block(centred[..., None], *where)
                denominator = insert_block(images.power[..., None], *where)
                divided[half][number] += FourierSums(numerator, denominator, radius_px)
    return _over_all(divided, context)


def _maximize(sums: _Sums, context: Context, radius_px: int) -> tuple[Tensor, Tensor]:
    """(K, b, b, b) maps of the classes and (K, shells) FSC between their half-sets."""
    box = min(working_box(radius_px), context.cache.plane.box_px)
    mask = soft_sphere(box, context.mask_fraction * box, max(2.0, 0.04 * box), context.device)
    weak = torch.full((1, radius_px + 2), 0.5, device=context.device)
    maps, correlations = [], []
    for first, second in zip(*sums, strict=True):
        pair = [solve_maps(s, correlation_ridge(s, weak), radius_px, box)[0] * mask for s in (first, second)]
        correlation = shell_correlation(pair[0][None], pair[1][None])
        total = first + second
        ridge = correlation_ridge(total, full_correlation(smooth_correlation(correlation)))
        maps.append(solve_maps(total, ridge, radius_px, box)[0] * mask)
        correlations.append(correlation[0])
    return torch.stack(maps), torch.stack(correlations)


def _next_radius(correlations: Tensor, context: Context) -> int:
    """As far as the best class's half-sets agree, and a little further, so that it can grow."""
    reach = max(first_shell_below(correlation, 0.143) for correlation in correlations) + 3
    return max(context.consensus.radius_end_px, min(reach, context.limit_px))


def class_pass(state: RunState, context: Context) -> RunState:
    """One iteration: posteriors over classes and poses, then maps, populations and the spread of shifts."""
    coarse = context.consensus.radius_end_px
    if state.passes == 0:
        maps = state.oriented.maps[:, 0]
        step = _Step(maps, maps.new_zeros(1), context.consensus.shift_extent_px, coarse, coarse)
    else:
        last = state.kept["multiclass"]
        step = _Step(last["maps"], last["weights"].log(), last["shift_sd_px"], coarse, last["radius_px"])
    gathered = _expect(step, context)
    count, classes = len(context.cache), context.config.classes
    if state.passes == 0:
        sums = _divided(gathered, context, step.fine_px)
        weights = gathered.evidence.new_full((classes,), 1 / classes)
    else:
        sums = gathered.sums
        weights = (gathered.responsibilities.sum(0) + 1) / (count + classes)
    maps, correlations = _maximize(sums, context, step.fine_px)
    spread = float(gathered.shifts_px.square().mean().sqrt())
    kept = {
        "maps": maps,
        "weights": weights,
        "responsibilities": gathered.responsibilities,
        "shift_sd_px": max(spread, 0.5 * context.consensus.shift_step_px),
        "radius_px": _next_radius(correlations, context),
        "correlation": correlations.amax(0),
    }
    record: dict[str, Any] = {
        "radius_px": step.fine_px,
        "log_evidence": float(gathered.evidence.mean()),
        "populations": [round(float(w), 4) for w in weights],
        "significant_poses": gathered.kept / count,
    }
    moved = replace(
        state.oriented,
        candidates=without_deviation(gathered.rotations, gathered.shifts_px),
        log_evidence=gathered.evidence,
    )
    return replace(
        state, model=moved, kept={**state.kept, "multiclass": kept}, history=(*state.history, record)
    )


def classes_to_latents(state: RunState, context: Context) -> RunState:
    """The mixture as a linear model: classes are points of a latent space of K - 1 dimensions."""
    mixture = state.kept["multiclass"]
    responsibilities = mixture["responsibilities"]
    corners = simplex(mixture["weights"])
    posterior = corners.posterior(responsibilities)
    maps = corners.maps(mixture["maps"])[None]
    # The last maps go as far as the best class's half-sets agree.
    agreement = mixture["correlation"]
    correlation = torch.cat([agreement[None], agreement.new_zeros(maps.shape[1] - 1, len(agreement))])
    model = state.oriented
    model = replace(
        model,
        maps=maps,
        radius_px=mixture["radius_px"],
        correlation=correlation,
        candidates=replace(model.candidates, latents=posterior.means),
        covariances=posterior.covariances,
    )
    kept = {**state.kept, CLASSES: responsibilities.argmax(1)}
    return replace(state, model=model, kept=kept, pose_change_deg=0.0)


def require_fewer_classes(config: EngineConfig, particles: Particles) -> None:
    """Raise InputError where there are more classes than particles, or two particles for none."""
    require(
        config.classes <= len(particles),
        f"--classes {config.classes} is more than the {len(particles)} particles: give fewer classes.",
    )


def mixture_of_classes(config: EngineConfig) -> tuple[Stage, ...]:
    """K maps by expectation-maximisation with adaptive oversampling, and the classes as latents."""
    return (
        Stage("classes and poses", class_pass, config.class_passes, cost=4.0, check=require_fewer_classes),
        Stage("classes as latents", classes_to_latents, 1, cost=0.1),
    )


RECIPES = (
    Recipe(
        "multiclass",
        "K maps by soft classes and poses, adaptive oversampling (RELION's EM)",
        PoseSource.FOUND,
        (parts.random_starts, searching.first_map, mixture_of_classes, parts.final_maps),
    ),
)

"""The passes of refinement: homogeneous, growing a subspace, joint, by half-sets, the last."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nunatak.geometry.rotations import geodesic_deg
from nunatak.geometry.so3_grid import tangent_offsets
from nunatak.latent.subspace import whitening_gauge
from nunatak.reconstruct.junk import junk_probability
from nunatak.reconstruct.model import (
    Model,
    SearchPlan,
    expect,
    half_sums,
    maximize,
    noise_from_residuals,
    with_maps,
    without_latents,
)
from nunatak.reconstruct.orient import (
    confidence_by_class,
    local_prior,
    pose_confidence,
    pure_noise_objective,
    start_radius,
)
from nunatak.reconstruct.second_look import look_again
from nunatak.reconstruct.solving import COMPARED, LAST
from nunatak.reconstruct.state import Context, Outcome, RunState
from nunatak.search.local import LocalPrior
from nunatak.volumes.fsc import first_shell_below, molecular_correlation, resolution_A
from nunatak.volumes.maps import SUPPORT_FROM, molecular_support, working_box

COUNTED = "dimensions"
"""Name under which a state keeps the number of latent dimensions that were found."""
CLASSES = "classes"
"""Name under which it keeps the class of every particle, where it has found classes."""
LANDSCAPE = "landscape"
"""Name under which it keeps the curved landscape and its maps."""
_STAY = torch.zeros(1, 3)
# Of tangent_offsets: the identity and a turn to either side about each axis.
_AXES = 7
# Shells beyond where half-sets agree, so that the FSC is seen to fall.
_BEYOND_PX = 8


def _record(state: RunState, model: Model, moved_deg: float, evidence: float, context: Context) -> RunState:
    record: dict[str, Any] = {
        "radius_px": model.radius_px,
        "log_evidence": evidence,
        "pose_change_deg": moved_deg,
        "fsc_resolution_A": resolution_A(model.correlation[0], context.cache.extent_A),
    }
    return replace(state, model=model, pose_change_deg=moved_deg, history=(*state.history, record))


def _shift_sd(model: Model) -> float:
    return float(model.candidates.shifts_px.std()) if len(model.candidates) > 1 else 3.0


def _step(state: RunState, context: Context, plan: SearchPlan) -> tuple[Model, float, float]:
    """Expectation with a plan, noise from what remains.

    Returns
    -------
    the model, the median pose change in degrees, and the mean log evidence against pure noise
    """
    model = state.oriented
    count = len(context.cache)
    moved, power = expect(model, context.cache, plan, lambda done: context.progress(0.8 * done / count))
    change = geodesic_deg(model.candidates.rotations, moved.candidates.rotations)
    noise = noise_from_residuals(power, context.cache, moved.noise_variance)
    evidence = float(moved.log_evidence.mean()) + pure_noise_objective(
        context, moved.noise_variance, plan.radius_px
    )
    return replace(moved, noise_variance=noise), float(change.median()), evidence


def _supported_radius(model: Model, context: Context, threshold: float, margin: int) -> int:
    """Radius up to which half-sets agree, with a margin so that it can grow."""
    reach = first_shell_below(model.correlation[0], threshold) + margin
    return max(4, min(reach, context.limit_px))


def refine_pass(state: RunState, context: Context) -> RunState:
    """One pass of homogeneous refinement, each half-set against a map of its own (Scheres & Chen 2012)."""
    model = state.oriented
    if state.passes == 0:
        model = maximize(
            model,
            context.cache,
            min(start_radius(context) + 2, context.limit_px),
            context.mask_fraction,
            False,
        )
        state = replace(state, model=model)
    # The first passes look around, because the grid's poses are up to half a step away from the best.
    return refined(state, context, tangent_offsets(4.0) if state.passes < 2 else _STAY)


def refined(state: RunState, context: Context, turns: Tensor, latent: bool = True) -> RunState:
    """Poses against the maps of the half-sets, then maps as far as these agree and a little further.

    Parameters
    ----------
    turns : (k, 3)
        Rotation vectors to try about each pose.
    latent : bool
        False holds latents where they are.
    """
    model = state.oriented
    if len(model.maps) == 1:
        reach = min(start_radius(context) + 2, context.limit_px)
        model = maximize(model, context.cache, reach, context.mask_fraction, False)
        state = replace(state, model=model)
    radius = min(_supported_radius(model, context, 0.143, 2), model.radius_px)
    plan = SearchPlan(radius, turns, 2, local_prior(context, _shift_sd(model), latent))
    moved, change, evidence = _step(state, context, plan)
    reach = min(max(_supported_radius(model, context, 0.143, 5), radius), context.limit_px)
    return _record(
        state, maximize(moved, context.cache, reach, context.mask_fraction, False), change, evidence, context
    )


def settled(state: RunState, tolerance_deg: float = 0.15, least: int = 4) -> bool:
    """Poses move by less than a tolerance from pass to pass."""
    return state.passes >= least and state.pose_change_deg < tolerance_deg


def with_gauge(model: Model) -> Model:
    """The same model with latents centred, white and on principal axes (convention 10)."""
    gauge = whitening_gauge(model.posterior, model.maps.mean(0))
    posterior = gauge.latents(model.posterior)
    return replace(
        model,
        maps=torch.stack([gauge.maps(maps) for maps in model.maps]),
        candidates=replace(model.candidates, latents=posterior.means),
        covariances=posterior.covariances,
    )


def gauged(model: Model, context: Context) -> Model:
    """The model in the gauge of convention 10, with components that hold nothing of its contrast."""
    return with_gauge(without_contrast(model) if context.config.contrast_sd else model)


def without_contrast(model: Model) -> Model:
    """The model with components that are orthogonal to the mean, and what they had of it in the contrast.

    (1 + z a) mean + z W is nearly (1 + z a) (mean + z W): of an image's strength a latent and its contrast
    would each take a part, and the other latents of weak images would be too small.
    """
    mean, components = model.maps[:, 0], model.maps[:, 1:]
    along = (components * mean[:, None]).mean(0).flatten(1).sum(1) / mean.square().mean(0).sum().clamp(
        min=1e-30
    )
    maps = torch.cat([model.maps[:, :1], components - along[:, None, None, None] * model.maps[:, :1]], 1)
    own = model.candidates
    scales = (own.scales * (1 + own.latents @ along)).clamp(0.1, 10.0)
    return replace(model, maps=maps, candidates=replace(own, scales=scales))


def scattered(model: Model, latent_dim: int, context: Context) -> Model:
    """Latents at random: with poses held, passes turn them into the leading components of the residuals."""
    count = len(model.candidates)
    latents = torch.randn(count, latent_dim, generator=context.generator(23)).to(context.device)
    empty = model.maps.new_zeros(1, 1 + latent_dim, *model.maps.shape[2:])
    return replace(
        model,
        candidates=replace(model.candidates, latents=latents),
        covariances=latents.new_zeros(count, latent_dim, latent_dim),
        maps=empty,
    )


def latent_dim(state: RunState, context: Context) -> int:
    """Latent dimensions of a run: those counted, or those asked for."""
    return int(state.kept.get(COUNTED, context.config.latents))


def differing_in_the_molecule(model: Model, least_density: float = SUPPORT_FROM) -> Model:
    """The model with components that are zero in the solvent, whose noise is most of what they would hold."""
    maps = model.maps.clone()
    maps[:, 1:] *= molecular_support(maps[:, 0].mean(0), least_density)
    return replace(model, maps=maps)


def grow_pass(state: RunState, context: Context) -> RunState:
    """One pass of the subspace at held poses and low radius: a step of a power iteration on the residuals."""
    model = state.oriented
    radius = max(4, min(round(0.6 * start_radius(context)), context.limit_px))
    if state.passes == 0:
        model = scattered(model, latent_dim(state, context), context)
    grown = maximize(model, context.cache, radius, context.mask_fraction, True)
    model = gauged(differing_in_the_molecule(grown), context)
    plan = SearchPlan(radius, _STAY, 0, LocalPrior(pose=False, scale_sd=context.config.contrast_sd))
    moved, _, evidence = _step(replace(state, model=model), context, plan)
    return _record(state, replace(moved, noise_variance=model.noise_variance), 0.0, evidence, context)


def joint_pass(state: RunState, context: Context, done: int = 0) -> RunState:
    """One pass of poses and latents together: candidates compared by evidence, z profiled out of each.

    Parameters
    ----------
    done : int
        Passes of this kind before this stage.
    """
    begin, number = _first_joint_radius(context), done + state.passes
    # Frequencies open one ring a pass, and only where the half-sets agree.
    radius = min(begin + number, _supported_radius(state.oriented, context, 0.3, 0) if number else begin)
    model, radius = _joint_model(state.oriented, context, radius)
    turns = tangent_offsets(6.0) if number < 3 else (tangent_offsets(3.0) if number < 5 else _STAY)
    plan = SearchPlan(radius, turns, 2, local_prior(context, _shift_sd(model)))
    moved, change, evidence = _step(replace(state, model=model), context, plan)
    return _record(state, moved, change, evidence, context)


def look_pass(state: RunState, context: Context) -> RunState:
    """Every particle's best poses over the whole grid beside the one it has: see second_look."""
    reach = min(start_radius(context), _supported_radius(state.oriented, context, 0.3, 0))
    model, radius = _joint_model(state.oriented, context, reach)
    plan = SearchPlan(radius, tangent_offsets(6.0)[:_AXES], 3, local_prior(context, _shift_sd(model)))
    moved, fraction = look_again(model, context, radius, plan)
    change = geodesic_deg(model.candidates.rotations, moved.candidates.rotations).median()
    evidence = float(moved.log_evidence.mean()) + pure_noise_objective(context, model.noise_variance, radius)
    found = _record(state, moved, float(change), evidence, context)
    return replace(found, history=(*found.history[:-1], found.history[-1] | {"moved_far": fraction}))


def _first_joint_radius(context: Context) -> int:
    return max(4, start_radius(context) - 6)


def _joint_model(model: Model, context: Context, radius_px: int) -> tuple[Model, int]:
    """One model of all particles in the gauge, and the radius to search with: at least the first one's."""
    radius = max(radius_px, min(_first_joint_radius(context), context.limit_px))
    reach = min(radius + 2, context.limit_px)
    made = gauged(maximize(model, context.cache, reach, context.mask_fraction, True), context)
    return made, min(radius, made.radius_px)


def split_pass(state: RunState, context: Context) -> RunState:
    """One pass with a model per half-set, so that the resolution claimed does not rest on shared noise."""
    radius = _supported_radius(state.oriented, context, 0.143, 3)
    made = maximize(state.oriented, context.cache, radius, context.mask_fraction, False)
    model = gauged(made, context)
    plan = SearchPlan(min(radius, model.radius_px), _STAY, 2, local_prior(context, _shift_sd(model)))
    moved, change, evidence = _step(replace(state, model=model), context, plan)
    return _record(state, moved, change, evidence, context)


def settle_pass(state: RunState, context: Context) -> RunState:
    """One pass of latents and components at held poses, by half-sets, after the states' frames have changed.

    Poses that were free would leave the frame again, which a model of few components rewards.
    """
    radius = min(_supported_radius(state.oriented, context, 0.3, 0), start_radius(context))
    made = maximize(state.oriented, context.cache, radius, context.mask_fraction, False)
    model = gauged(made, context)
    # No step is made, so poses stay; that they might move is in the latents' error bars.
    plan = SearchPlan(min(radius, model.radius_px), _STAY, 0, local_prior(context, _shift_sd(model)))
    moved, _, evidence = _step(replace(state, model=model), context, plan)
    return _record(state, with_gauge(moved), state.pose_change_deg, evidence, context)


def finish_radius(model: Model, context: Context) -> int:
    """Radius of the last maps: past where the half-sets' means agree, so that the FSC is seen to fall.

    They are compared where the molecule is: noise around it would hide their agreement, and maps that are
    filtered by place show what it hides.
    """
    mean, radius = without_latents(model), model.radius_px
    while True:
        compared = maximize(mean, context.cache, radius, context.mask_fraction, False, COMPARED)
        agreed = first_shell_below(molecular_correlation(compared.maps[:, 0]), 0.143)
        if agreed < radius or radius >= context.limit_px:
            return max(4, min(agreed + _BEYOND_PX, context.limit_px))
        radius = min(radius + max(_BEYOND_PX, radius // 2), context.limit_px)


def last_maps(model: Model, context: Context, radius_px: int) -> tuple[Model, Model]:
    """The model with filtered maps of all particles, and with half-maps as they are.

    A filter that both shared would make the half-maps' FSC better than it is.
    """
    sums = half_sums(model, context.cache, radius_px)
    grid = min(working_box(radius_px), context.cache.plane.box_px), context.mask_fraction
    group = context.cache.share
    whole = with_maps(model, sums, grid, True, LAST, group)
    return whole, with_maps(model, sums, grid, False, COMPARED, group)


def finish_pass(state: RunState, context: Context) -> RunState:
    """Maps as far as the limit, confidence and junk probability of every particle."""
    if state.model is None:
        return state
    radius = finish_radius(state.model, context)
    whole, model = last_maps(state.model, context, radius)
    if CLASSES in state.kept:
        confidence, evidence = confidence_by_class(whole, state.kept[CLASSES], context)
    else:
        confidence, evidence = pose_confidence(whole, context)
    junk = junk_probability(evidence, context, start_radius(context))
    outcome = state.outcome if state.outcome is not Outcome.RUNNING else _outcome(state)
    return replace(state, model=model, maps=whole.maps[0], confidence=confidence, junk=junk, outcome=outcome)


def _outcome(state: RunState) -> Outcome:
    return Outcome.CONVERGED if state.pose_change_deg < 0.5 else Outcome.BUDGET

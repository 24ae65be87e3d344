"""Passes for particles whose poses are given."""

from __future__ import annotations

from dataclasses import replace

import torch

from nunatak.core.device import to_device
from nunatak.core.errors import InputError
from nunatak.geometry.poses import Poses
from nunatak.geometry.so3_grid import tangent_offsets
from nunatak.reconstruct.model import Model, SearchPlan, expect, maximize, noise_from_residuals
from nunatak.reconstruct.orient import pure_noise_objective
from nunatak.reconstruct.passes import (
    differing_in_the_molecule,
    finish_radius,
    latent_dim,
    refined,
    scattered,
    with_gauge,
)
from nunatak.reconstruct.state import Context, RunState
from nunatak.search.candidates import without_deviation
from nunatak.search.local import LocalPrior

_STAY = torch.zeros(1, 3)
_LOOK_DEG = 4.0


def _given_model(poses: Poses, context: Context) -> Model:
    count, pixel = len(context.cache), context.cache.pixel_size_A
    poses, box = to_device(poses, context.device), 8
    zero = context.noise_variance.new_zeros
    return Model(
        zero(1, 1, box, box, box),
        0,
        zero(1, 4),
        without_deviation(poses.rotations.float(), poses.shifts_A.float() / pixel),
        zero(count, 0, 0),
        context.noise_variance,
        context.halves,
        zero(count),
        context.sound,
    )


def given_poses_pass(state: RunState, context: Context) -> RunState:
    """Half maps from the given poses, and the noise that they leave.

    Raises
    ------
    InputError
        When the particles have no poses.
    """
    if context.poses is None:
        raise InputError(
            "The particles have no poses: expected rlnAngleRot, rlnAngleTilt, rlnAnglePsi and "
            "rlnOriginX/YAngst (or alignments3D in a .cs); use `nunatak abinit` to find them."
        )
    model = maximize(
        _given_model(context.poses, context), context.cache, context.limit_px, context.mask_fraction, True
    )
    plan = SearchPlan(context.limit_px, _STAY, 0, LocalPrior(pose=False))
    judged, power = expect(model, context.cache, plan)
    noise = noise_from_residuals(power, context.cache, model.noise_variance)
    model = maximize(
        replace(judged, noise_variance=noise), context.cache, context.limit_px, context.mask_fraction, False
    )
    evidence = float(model.log_evidence.mean()) + pure_noise_objective(
        context, context.noise_variance, context.limit_px
    )
    record = {"radius_px": model.radius_px, "log_evidence": evidence}
    return replace(state, model=model, pose_change_deg=0.0, history=(*state.history, record))


def refine_given_pass(state: RunState, context: Context) -> RunState:
    """One pass of local refinement of given poses, each half-set against a map of its own.

    The first pass looks around as well: poses of coarser pixels, or of another map, may be degrees off.
    """
    return refined(state, context, tangent_offsets(_LOOK_DEG) if state.passes == 0 else _STAY)


def fixed_grow_pass(state: RunState, context: Context, done: int = 0) -> RunState:
    """One pass of the subspace at the given poses; the radius opens up to where the half-sets agree.

    Parameters
    ----------
    done : int
        Passes of this kind before this stage.
    """
    model, number = state.oriented, done + state.passes
    if number == 0:
        model = scattered(model, latent_dim(state, context), context)
    low = max(4, min(12, context.limit_px))
    half_way = context.config.grow_passes // 2
    radius = low if number < half_way else max(low, finish_radius(model, context))
    grown = maximize(model, context.cache, radius, context.mask_fraction, True)
    model = with_gauge(differing_in_the_molecule(grown) if radius == low else grown)
    moved, _ = expect(model, context.cache, SearchPlan(radius, _STAY, 0, LocalPrior(pose=False)))
    evidence = float(moved.log_evidence.mean()) + pure_noise_objective(context, moved.noise_variance, radius)
    record = {"radius_px": radius, "log_evidence": evidence}
    return replace(state, model=with_gauge(moved), history=(*state.history, record))

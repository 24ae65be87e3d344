"""Particles that were not in a run: poses and latents against the model of the finished run, which stays."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nunatak.geometry.so3_grid import tangent_offsets
from nunatak.reconstruct.consensus import ConsensusState
from nunatak.reconstruct.junk import junk_probability
from nunatak.reconstruct.model import Model, SearchPlan, expect, noise_from_residuals
from nunatak.reconstruct.orient import global_search, local_prior, pose_confidence, start_radius
from nunatak.reconstruct.state import Context, RunState
from nunatak.volumes.maps import change_box, soft_sphere, working_box
from nunatak.volumes.wiener import empty_sums

TURNS_DEG = (7.5, 3.0, 0.0)
"""Neighbours that are tried around each pose, pass by pass."""


def _searched(maps: Tensor, context: Context) -> Model:
    """Every particle's best pose on the grid, against the mean map."""
    config, images = context.consensus, context.polar
    start = ConsensusState(
        change_box(maps[:1], images.box_px),
        empty_sums(config.radius_end_px, 1, device=context.device),
        config.march_updates,
        max(config.shift_extent_px, 1.0),
        0.0,
        torch.ones(config.radius_end_px + 1, device=context.device),
    )
    return global_search(start, context)


def place_newcomers(maps: Tensor, context: Context, radius_px: int) -> RunState:
    """Poses, latents, confidence and junk probability of a context's particles, given a model.

    Parameters
    ----------
    maps : (1 + q, d, d, d) float32
        Mean and components of the finished run, on the particles' grid.
    radius_px : int
        Fourier radius that the maps are good to.
    """
    found, latent_dim, count = _searched(maps, context), len(maps) - 1, len(context.cache)
    reach = max(4, min(radius_px, context.limit_px))
    box = min(working_box(reach), context.cache.plane.box_px)
    mask = soft_sphere(box, context.mask_fraction * box, max(2.0, 0.04 * box), context.device)
    latents = found.covariances.new_zeros(count, latent_dim)
    model = replace(
        found,
        maps=(change_box(maps, box) * mask)[None],
        radius_px=reach,
        correlation=found.correlation.new_zeros(1 + latent_dim, found.correlation.shape[1]),
        candidates=replace(found.candidates, latents=latents),
        covariances=latents.new_zeros(count, latent_dim, latent_dim),
    )
    for number, turn_deg in enumerate(TURNS_DEG):
        # The grid's poses are too coarse for the finest rings: these come when neighbours have been tried.
        radius = reach if number else max(4, min(start_radius(context), reach))
        turns = tangent_offsets(turn_deg) if turn_deg else torch.zeros(1, 3, device=context.device)
        spread = float(model.candidates.shifts_px.std()) if count > 1 else 3.0
        moved, power = expect(
            model, context.cache, SearchPlan(radius, turns, 3, local_prior(context, spread))
        )
        model = replace(
            moved, noise_variance=noise_from_residuals(power, context.cache, moved.noise_variance)
        )
        context.progress((number + 1) / (len(TURNS_DEG) + 1))
    confidence, evidence = pose_confidence(model, context)
    junk = junk_probability(evidence, context, start_radius(context))
    return RunState(model=model, maps=maps, confidence=confidence, junk=junk)

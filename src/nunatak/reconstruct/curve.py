"""From a plane of components to a curved landscape: maps that follow large motions, latents from them.

The linear model's latents say where particles lie; smooth functions of them are what the maps are components
of (nunatak.latent.landscape). One round of expectation-maximisation: maps from the latents as they are, the
posterior of every particle over the places where particles lie, its pose free to give way, and maps again
from the functions' posterior moments (theory eq. 18, 19; docs/decisions/0016).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nunatak.latent.landscape import WIDTH_IN_NOISE, Information, Landscape, Placed, landscape_of, place
from nunatak.latent.subspace import LatentPosterior, whitening_gauge
from nunatak.projection.gridding import block_from_maps
from nunatak.reconstruct.memory import functions_that_fit
from nunatak.reconstruct.model import Model, images_within
from nunatak.reconstruct.passes import finish_radius, in_gauge, last_maps
from nunatak.reconstruct.state import Context, RunState
from nunatak.search.candidates import LATENT, NormalEquations
from nunatak.search.normal_equations import normal_equations

KEPT = "landscape"
"""Name under which a state keeps the landscape and its maps."""
_POSE = slice(0, 5)


def curve_pass(state: RunState, context: Context) -> RunState:
    """Maps as components of smooth functions of the latent, and latents by the posterior over nodes."""
    model, wanted = state.oriented, context.config.landscape_functions
    radius = finish_radius(model, context)
    most = functions_that_fit(wanted, radius, model.latent_dim)
    found = landscape_of(model.posterior, most, context.generator(41)) if most else None
    landscape = context.cache.share.agreed(found)
    record: dict[str, Any] = {"radius_px": radius, "functions": 0}
    if landscape is None:
        return replace(state, history=(*state.history, record))
    record["functions"] = landscape.combination.shape[1]
    values = landscape.functions(model.candidates.latents)
    certain = LatentPosterior(values, values.new_zeros(*values.shape, values.shape[1]))
    curved = _with_values(model, certain)
    whole, halves = last_maps(curved, context, radius)
    context.progress(0.5)
    # Where nodes are farther apart than noise is wide, latents are known better than nodes can say.
    if landscape.width <= WIDTH_IN_NOISE:
        landscape, placed = _placed(replace(whole, noise_variance=model.noise_variance), landscape, context)
        whole, halves = last_maps(_with_values(model, placed.values), context, radius)
        model = _with_latents(model, placed.latents)
        gauge = whitening_gauge(model.posterior, model.maps.mean(0))
        model, landscape = in_gauge(model, gauge), landscape.in_gauge(gauge)
    kept = {"landscape": landscape, "maps": whole.maps[0], "halves": halves.maps}
    return replace(state, model=model, kept={**state.kept, KEPT: kept}, history=(*state.history, record))


def _with_latents(model: Model, posterior: LatentPosterior) -> Model:
    return replace(
        model,
        candidates=replace(model.candidates, latents=posterior.means),
        covariances=posterior.covariances,
    )


def _with_values(model: Model, values: LatentPosterior) -> Model:
    """The model with the functions' values in place of latents; its maps are still to be made."""
    channels = 1 + values.means.shape[1]
    return replace(_with_latents(model, values), maps=model.maps.new_zeros(1, channels, 1, 1, 1))


def _placed(model: Model, landscape: Landscape, context: Context) -> tuple[Landscape, Placed]:
    """The posterior of every particle over the nodes, for maps of the functions."""
    share, tile = context.cache.share, context.cache.tiles.local
    block = block_from_maps(model.maps[0], model.radius_px)
    every = torch.arange(len(context.cache), device=context.device)
    parts = [_information(block, model, context, rows) for rows in share.tiles(every, tile)]
    own = Information(torch.cat([p.pull for p in parts]), torch.cat([p.curvature for p in parts]))
    landscape, placed = place(own, landscape, tile, share.total)
    tensors = placed.values.means, placed.values.covariances, placed.latents.means, placed.latents.covariances
    values, spread, latents, covariances = share.joined(tensors)
    return landscape, Placed(LatentPosterior(values, spread), LatentPosterior(latents, covariances))


def _information(block: Tensor, model: Model, context: Context, rows: Tensor) -> Information:
    """What some images say about the functions' values."""
    here = torch.arange(len(rows), device=rows.device)
    candidates = replace(model.candidates[rows], rows=here)
    images = images_within(context.cache, rows, model.radius_px)
    equations = normal_equations(block, 2, candidates, images, 2 / model.noise_variance)
    shift_sd_px = max(float(model.candidates.shifts_px.std()), 1.0)
    return pose_profiled(equations, candidates.latents, shift_sd_px)


def pose_profiled(equations: NormalEquations, values: Tensor, shift_sd_px: float) -> Information:
    """Information about the linear coefficients when the pose gives way to them (theory eq. 19).

    Parameters
    ----------
    equations : NormalEquations
        About candidates with (n, k) values.
    """
    hessian, gradient = equations.hessian, equations.gradient
    pose = hessian[:, _POSE, _POSE].clone()
    pose[:, range(3, 5), range(3, 5)] += 1 / shift_sd_px**2
    size = pose.diagonal(dim1=1, dim2=2)
    pose = pose + torch.diag_embed(1e-6 * size + 1e-6)
    across = hessian[:, _POSE, LATENT]
    solved = torch.linalg.solve(pose, torch.cat([across, gradient[:, _POSE, None]], 2))
    curvature = hessian[:, LATENT, LATENT] - across.mT @ solved[..., :-1]
    slope = gradient[:, LATENT] - (across.mT @ solved[..., -1:])[..., 0]
    return Information(slope + (curvature @ values[..., None])[..., 0], curvature)

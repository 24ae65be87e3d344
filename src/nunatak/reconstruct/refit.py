"""Maps in closed form at poses and latents that gradients have found: what is linear needs no descent.

A grid's volume is linear in its maps, V = G_0 + sum_k c_k(z) G_k. Once latents and mixing are trained,
the maps are solved for as those of the linear model are (theory eq. 7), with priors from the half-sets' FSC;
a descent has no such priors and leaves noise in.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nunatak.latent.gauge import population_gauge, ungauged
from nunatak.latent.subspace import Gauge, LatentPosterior
from nunatak.reconstruct.model import maximize, without_latents
from nunatak.reconstruct.passes import finish_radius
from nunatak.reconstruct.state import Context, RunState
from nunatak.volumes.grid_field import GridField
from nunatak.volumes.making import field_with, plan_from_text

_STEP = 0.1


def found_maps_pass(state: RunState, context: Context) -> RunState:
    """Half maps at the poses found, without latents: how far the poses carry, for the passes after it."""
    bare = without_latents(state.oriented)
    model = maximize(bare, context.cache, context.limit_px, context.mask_fraction, False)
    return replace(state, model=model, history=(*state.history, {"radius_px": model.radius_px}))


def mixing_posterior(field: GridField, posterior: LatentPosterior, gauge: Gauge) -> LatentPosterior:
    """Means and covariances of a grid's mixing weights, from those of latents in a gauge (delta method)."""

    def weights(latents: Tensor) -> Tensor:
        return field.mixing(ungauged(latents, gauge))[:, 1:]

    slopes = []
    for axis in torch.eye(posterior.means.shape[1], device=posterior.means.device):
        ends = [weights(posterior.means + sign * _STEP * axis) for sign in (1, -1)]
        slopes.append((ends[0] - ends[1]) / (2 * _STEP))
    slope = torch.stack(slopes, 2)
    return LatentPosterior(weights(posterior.means), slope @ posterior.covariances @ slope.transpose(1, 2))


@torch.no_grad()
def refit_pass(state: RunState, context: Context) -> RunState:
    """The maps of a grid in closed form, at the latents that it was trained to; a network stays as it is."""
    kept, model = state.kept.get("decoder"), state.oriented
    if kept is None:
        return state
    field = field_with(plan_from_text(kept["plan"]), kept["parameters"])
    if not isinstance(field, GridField) or not field.rank:
        return state
    mixed = mixing_posterior(field, model.posterior, Gauge(kept["centre"], kept["transform"]))
    # Weights of unit variance on axes of their own, as latents of the linear model are.
    gauge = population_gauge(mixed)
    placed = gauge.latents(mixed)
    empty = model.maps.new_zeros(1, 1 + field.rank, *model.maps.shape[2:])
    linear = replace(
        model,
        maps=empty,
        candidates=replace(model.candidates, latents=placed.means),
        covariances=placed.covariances,
    )
    radius = min(finish_radius(model, context), field.shape.radius_px)
    maps = maximize(linear, context.cache, radius, context.mask_fraction, True).maps[0]
    components = torch.tensordot(gauge.transform.T, maps[1:], 1)
    mean = maps[0] - torch.tensordot(gauge.centre, components, 1)
    field.begin_with(torch.cat([mean[None], components]))
    parameters = {name: numbers.detach().clone() for name, numbers in field.state_dict().items()}
    return replace(state, kept={**state.kept, "decoder": {**kept, "parameters": parameters}})

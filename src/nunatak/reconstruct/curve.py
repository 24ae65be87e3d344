"""From a plane of components to a curved landscape: maps that follow large motions.

The linear model's latents say where particles lie; smooth functions of them are what the last maps are
components of (nunatak.latent.landscape; theory eq. 18; docs/decisions/0016).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from nunatak.core.device import hand_back_freed
from nunatak.core.gathered import Gathered
from nunatak.geometry.rotations import geodesic_deg
from nunatak.latent.landscape import Landscape, landscape_of
from nunatak.latent.landscape_posterior import placed
from nunatak.latent.subspace import LatentPosterior, whitening_gauge
from nunatak.projection.gridding import block_from_maps
from nunatak.reconstruct.memory import functions_that_fit
from nunatak.reconstruct.model import Model, SearchPlan, expect, images_within, maximize, search_from
from nunatak.reconstruct.orient import local_prior
from nunatak.reconstruct.passes import LANDSCAPE, finish_radius, last_maps, with_gauge
from nunatak.reconstruct.solving import LAST
from nunatak.reconstruct.state import Context, RunState
from nunatak.search.candidates import Candidates
from nunatak.search.local import LocalSearch

STATES = "states"
"""Name under which a state keeps the landscape and what is believed of its functions at every particle."""
_STEPS = 2


def _states(state: RunState, context: Context, radius_px: int) -> tuple[Landscape, LatentPosterior] | None:
    """The landscape, and what is believed of its functions' values at the particles."""
    if STATES in state.kept:
        kept = state.kept[STATES]
        return kept["landscape"], LatentPosterior(kept["values"], kept["covariances"])
    model, config = state.oriented, context.config
    most = functions_that_fit(config.landscape_functions, radius_px, model.latent_dim)
    found = landscape_of(model.posterior, most, context.generator(41)) if most else None
    landscape = context.cache.share.agreed(found)
    if landscape is None:
        return None
    values = landscape.functions(model.candidates.latents)
    count = values.shape[1]
    return landscape, LatentPosterior(values, values.new_zeros(len(values), count, count))


def _without_states(state: RunState) -> dict[str, Any]:
    """What a state keeps, so that its landscape is made anew or left behind."""
    return {name: value for name, value in state.kept.items() if name != STATES}


def _curved(model: Model, functions: LatentPosterior) -> Model:
    """The model whose latents are the functions' values."""
    count = functions.means.shape[1]
    return replace(
        model,
        maps=model.maps.new_zeros(1, 1 + count, 1, 1, 1),
        candidates=replace(model.candidates, latents=functions.means),
        covariances=functions.covariances,
    )


def states_pass(state: RunState, context: Context, held: bool = False) -> RunState:
    """Poses against each particle's own map on the landscape, then where on it the particle lies.

    Each half-set against maps of its own.

    Parameters
    ----------
    held : bool
        Poses are known: they stay, and that they might move is not in the latents' error bars.
    """
    model = state.oriented
    reach = finish_radius(model, context)
    found = _states(state, context, reach)
    if found is None:
        return state
    landscape, functions = found
    curved = maximize(_curved(model, functions), context.cache, reach, context.mask_fraction, False)
    plan = replace(_plan(model, context, reach, held), iterations=0 if held else _STEPS)
    moved, functions, latents = _expect(curved, landscape, context, plan)
    change = float(geodesic_deg(model.candidates.rotations, moved.rotations).median())
    record: dict[str, Any] = {"radius_px": reach, "pose_change_deg": change}
    return _with_states(state, moved, (landscape, functions, latents), record)


def latents_pass(state: RunState, context: Context, held: bool = False) -> RunState:
    """Where particles lie by maps of all of them: on a plane, then on a landscape of that; poses stay.

    Maps of a half-set are of half as many images, so that what tells two states apart is twice as noisy in
    them. From the plane, because a landscape of latents that a landscape has given gathers them into clumps.
    `held` as in states_pass.
    """
    linear = _on_a_plane(state.oriented, context, held)
    state = replace(state, model=linear, kept=_without_states(state))
    reach = finish_radius(linear, context)
    found = _states(state, context, reach)
    if found is None:
        return replace(state, history=(*state.history, {"radius_px": reach}))
    landscape, functions = found
    curved = maximize(_curved(linear, functions), context.cache, reach, context.mask_fraction, True, LAST)
    moved, functions, latents = _expect(curved, landscape, context, _plan(linear, context, reach, held))
    return _with_states(state, moved, (landscape, functions, latents), {"radius_px": reach})


def _on_a_plane(model: Model, context: Context, held: bool) -> Model:
    """The linear model of all particles, and latents by it at held poses."""
    reach = finish_radius(model, context)
    whole = with_gauge(maximize(model, context.cache, reach, context.mask_fraction, True, LAST))
    return with_gauge(expect(whole, context.cache, _plan(whole, context, reach, held, latent=True))[0])


def _plan(model: Model, context: Context, radius_px: int, held: bool, latent: bool = False) -> SearchPlan:
    """No step of the poses; that those which are not known might move is in the latents' error bars."""
    prior = local_prior(context, float(model.candidates.shifts_px.std()), latent=latent)
    stay = torch.zeros(1, 3, device=context.device)
    return SearchPlan(radius_px, stay, 0, replace(prior, pose=not held))


def _with_states(
    state: RunState,
    moved: Candidates,
    states: tuple[Landscape, LatentPosterior, LatentPosterior],
    record: dict[str, Any],
) -> RunState:
    """The state with poses, and with what is believed of functions and latents, in the gauge."""
    model, (landscape, functions, latents) = state.oriented, states
    gauge = whitening_gauge(latents, model.maps.mean(0))
    latents = gauge.latents(latents)
    own = replace(moved, latents=latents.means)
    placed = replace(model, candidates=own, covariances=latents.covariances)
    kept = {
        "landscape": landscape.in_gauge(gauge),
        "values": functions.means,
        "covariances": functions.covariances,
    }
    return replace(
        state,
        model=replace(placed, maps=torch.stack([gauge.maps(maps) for maps in model.maps])),
        kept={**state.kept, STATES: kept},
        history=(*state.history, record),
    )


def _expect(
    model: Model, landscape: Landscape, context: Context, plan: SearchPlan
) -> tuple[Candidates, LatentPosterior, LatentPosterior]:
    """Poses at held states, and the posteriors of functions and latents there, of every particle."""
    cache, weights = context.cache, 2 / model.noise_variance
    every = torch.arange(len(cache), device=context.device)
    hand_back_freed()
    gathered, done = Gathered(len(cache.samples)), 0
    for half, maps in enumerate(model.maps):
        block = block_from_maps(maps, max(plan.radius_px, 2))
        chosen = torch.nonzero(model.halves == half).flatten() if len(model.maps) > 1 else every
        for rows in cache.share.tiles(chosen, cache.tiles.local):
            search = LocalSearch(block, images_within(cache, rows, plan.radius_px), weights, plan.prior)
            start = replace(model.candidates[rows], rows=every[: len(rows)])
            own = search_from(search, start, plan).candidates
            functions, latents = placed(landscape, own.latents, *search.information(own))
            at = functions.means, functions.covariances, latents.means, latents.covariances
            gathered.put(cache.share.local(rows), own.rotations, own.shifts_px, own.scales, *at)
            done += len(rows)
            context.progress(done * cache.share.size / len(cache))
    rotations, shifts, scales, *rest = cache.share.joined(gathered.columns())
    moved = Candidates(rotations, shifts, scales, rest[0], every)
    return moved, LatentPosterior(*rest[:2]), LatentPosterior(*rest[2:])


def curve_pass(state: RunState, context: Context) -> RunState:
    """Maps as components of smooth functions of the latent, of all particles and of the half-sets."""
    model = state.oriented
    radius = finish_radius(model, context)
    found = _states(state, context, radius)
    record: dict[str, Any] = {"radius_px": radius, "functions": 0}
    if found is None:
        return replace(state, history=(*state.history, record))
    landscape, functions = found
    record["functions"] = functions.means.shape[1]
    whole, halves = last_maps(_curved(model, functions), context, radius)
    kept = _without_states(state)
    kept[LANDSCAPE] = {"landscape": landscape, "maps": whole.maps[0], "halves": halves.maps}
    return replace(state, kept=kept, history=(*state.history, record))

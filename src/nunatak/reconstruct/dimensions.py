"""How many dimensions the particles' differences have: those that two halves of the data find by themselves.

Each half-set grows a subspace of its own, from random latents of its own, at the poses that there are. What
both find is a property of the particles; noise is not found twice. Directions that errors of pose and
contrast take are left out, for they are found twice as well (theory eq. 19; docs/decisions/0018).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nunatak.core.fourier import fourier_map, real_map
from nunatak.latent.subspace import LatentPosterior, whitening_gauge
from nunatak.reconstruct.model import Model, SearchPlan, expect, maximize
from nunatak.reconstruct.orient import start_radius
from nunatak.reconstruct.passes import COUNTED, scattered
from nunatak.reconstruct.state import Context, RunState
from nunatak.search.local import LocalPrior
from nunatak.volumes.maps import radius_grid
from nunatak.volumes.tangents import nuisance_maps

LEAST_CORRELATION = 0.45
"""Of directions of the half-sets' subspaces; what noise reaches was measured (docs/decisions/0018)."""
SPARE = 1
"""Dimensions beside those counted: all particles together, better oriented, show a little more."""
LEAST_FREE = 0.3
"""Of a direction, as a part of its length, must be no error of pose or contrast."""
_PASSES = 10
# Contrast is fitted: it would be the first thing that both halves find.
_PRIOR = LocalPrior(pose=False, scale_sd=0.2)


def is_flexible(state: RunState) -> bool:
    """Whether the particles were found to differ."""
    return bool(state.kept.get(COUNTED, 0))


def is_rigid(state: RunState) -> bool:
    """Whether they were found not to."""
    return not is_flexible(state)


def count_pass(state: RunState, context: Context) -> RunState:
    """How many dimensions both half-sets find, and so how many latents there are to be."""
    model, most = state.oriented, context.config.most_latents
    radius = max(4, min(round(0.6 * start_radius(context)), context.limit_px))
    grown = scattered(model, min(most, max(1, len(context.cache) // 20)), context)
    plan = SearchPlan(radius, torch.zeros(1, 3, device=context.device), 0, _PRIOR)
    correlations = context.noise_variance.new_zeros(most)
    for done in range(_PASSES):
        grown = by_halves(maximize(grown, context.cache, radius, context.mask_fraction, False, (0, 0)))
        correlations = shared_directions(grown.maps, radius)
        if done + 1 < _PASSES:
            moved, _ = expect(grown, context.cache, plan)
            grown = replace(moved, noise_variance=grown.noise_variance)
        context.progress((done + 1) / _PASSES)
    found = int((correlations > LEAST_CORRELATION).sum())
    latents = min(found + SPARE, most) if found else 0
    record: dict[str, Any] = {
        "radius_px": radius,
        "dimensions": found,
        "shared_directions": [round(float(c), 3) for c in correlations],
    }
    return replace(state, kept={**state.kept, COUNTED: latents}, history=(*state.history, record))


def by_halves(model: Model) -> Model:
    """A model with maps of each half-set, with the latents of each in a gauge of its own (convention 10)."""
    latents, covariances = model.candidates.latents.clone(), model.covariances.clone()
    maps = []
    for half, own in enumerate(model.maps):
        rows = model.halves == half
        posterior = LatentPosterior(latents[rows], covariances[rows])
        gauge = whitening_gauge(posterior, own)
        white = gauge.latents(posterior)
        latents[rows], covariances[rows] = white.means, white.covariances
        maps.append(gauge.maps(own))
    candidates = replace(model.candidates, latents=latents)
    return replace(model, maps=torch.stack(maps), candidates=candidates, covariances=covariances)


def shared_directions(maps: Tensor, radius_px: int) -> Tensor:
    """(q,) falling canonical correlations of two half-sets' components, without nuisance directions.

    Parameters
    ----------
    maps : (2, 1 + q, d, d, d)
        Mean and components of each half-set.
    """
    inside = radius_grid(maps.shape[-1], maps.device) <= radius_px
    within = real_map(fourier_map(maps) * inside)
    nuisance = real_map(fourier_map(nuisance_maps(within[:, 0].mean(0), radius_px)) * inside)
    known = torch.linalg.qr(nuisance.flatten(1).T)[0]
    bases = []
    for components in within[:, 1:].flatten(2):
        basis = torch.linalg.qr(components.T)[0]
        free, size, _ = torch.linalg.svd(basis - known @ (known.T @ basis), full_matrices=False)
        # A direction that is a nuisance leaves rounding errors, and those of two halves can agree.
        bases.append(free * (size > LEAST_FREE))
    return torch.linalg.svdvals(bases[0].T @ bases[1])

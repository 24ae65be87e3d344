"""How many dimensions the particles' differences have: those that two halves of the data find by themselves.

Each half-set grows a subspace of its own, from random latents of its own, at the poses that there are. What
both find is a property of the particles; noise is not found twice. Directions that errors of pose and
contrast take are left out, for they are found twice as well (theory eq. 19; docs/decisions/0018).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nunatak.latent.subspace import LatentPosterior, whitening_gauge
from nunatak.reconstruct.model import Model, SearchPlan, expect, maximize
from nunatak.reconstruct.orient import start_radius
from nunatak.reconstruct.passes import COUNTED, differing_in_the_molecule, scattered
from nunatak.reconstruct.solving import COMPARED
from nunatak.reconstruct.state import Context, RunState
from nunatak.search.local import LocalPrior
from nunatak.volumes.maps import low_passed
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
    start = scattered(model, min(most, max(1, len(context.cache) // 20)), context)
    grown = grown_by_halves(start, _PASSES, radius, None, context, context.progress)
    correlations = shared_directions(grown.maps, radius)
    found = int((correlations > LEAST_CORRELATION).sum())
    latents = min(found + SPARE, most) if found else 0
    record: dict[str, Any] = {
        "radius_px": radius,
        "dimensions": found,
        "shared_directions": [round(float(c), 3) for c in correlations],
    }
    return replace(state, kept={**state.kept, COUNTED: latents}, history=(*state.history, record))


def grown_by_halves(
    model: Model,
    passes: int,
    radius_px: int,
    least_density: float | None,
    context: Context,
    progress: Callable[[float], None] = lambda done: None,
) -> Model:
    """The model after passes at held poses in which each half-set finds a subspace of its own; maps as found.

    Parameters
    ----------
    least_density : float or None
        Of the mean's highest; components are zero where the molecule is not denser. None lets them be.
    """
    plan = SearchPlan(radius_px, torch.zeros(1, 3, device=context.device), 0, _PRIOR)
    for done in range(passes):
        made = by_halves(maximize(model, context.cache, radius_px, context.mask_fraction, False, COMPARED))
        if least_density is not None:
            made = differing_in_the_molecule(made, least_density)
        moved, _ = expect(made, context.cache, plan)
        model = replace(moved, noise_variance=made.noise_variance)
        progress((done + 1) / passes)
    return model


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
    first, second = free_directions(maps, radius_px)
    return torch.linalg.svdvals(first.T @ second)


def free_directions(maps: Tensor, radius_px: int, known: Tensor | None = None) -> list[Tensor]:
    """(d^3, q) orthonormal directions of each half-set's components, without nuisance ones; zeros for lost.

    Parameters
    ----------
    known : (k, d, d, d) float32
        Other directions to do without.
    """
    low = low_passed(maps, radius_px)
    left_out = low_passed(nuisance_maps(low[:, 0].mean(0), radius_px), radius_px)
    if known is not None:
        left_out = torch.cat([left_out, low_passed(known, radius_px)])
    outside = torch.linalg.qr(left_out.flatten(1).T)[0]
    bases = []
    for components in low[:, 1:].flatten(2):
        basis = torch.linalg.qr(components.T)[0]
        free, size, _ = torch.linalg.svd(basis - outside @ (outside.T @ basis), full_matrices=False)
        # A direction that is a nuisance leaves rounding errors, and those of two halves can agree.
        bases.append(free * (size > LEAST_FREE))
    return bases

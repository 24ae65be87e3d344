"""A second look over the whole grid, once there is a model of the states.

Particles are first oriented by one map for all states. Where a large part swings, that map is a blur, and
some images fit it better half a turn away; no local search finds back from there. With the model of the
states each image's best few poses, far apart from each other, are refined beside the one it has, and
evidence decides (theory eq. 8; docs/decisions/0015).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from nunatak.core.gathered import Gathered
from nunatak.geometry.rotations import geodesic_deg
from nunatak.projection.gridding import block_from_maps
from nunatak.reconstruct.model import Model, SearchPlan, images_within, search_from
from nunatak.reconstruct.orient import mean_bank
from nunatak.reconstruct.state import Context
from nunatak.search.candidates import LATENT, Candidates
from nunatak.search.local import LocalSearch
from nunatak.search.modes import PoseModes, pose_modes

MODES = 3
"""Poses looked at of each image."""
APART_DEG = 30.0
"""Angle between them, two steps of the grid: nearer ones are the local search's."""
WORTH_NATS = 30.0
"""Poses whose fit to the mean map is worse than the best one's by more than this are left out."""


def look_again(model: Model, context: Context, radius_px: int, plan: SearchPlan) -> tuple[Model, float]:
    """Replace poses by better ones found over the whole grid.

    Parameters
    ----------
    model : Model
        One for all particles, its maps' mean channel the one that is searched with.
    radius_px : int
        Of the search over the grid.
    plan : SearchPlan
        Of the local search from each pose, the present ones included.

    Returns
    -------
    the model with new candidates and covariances, and the fraction of particles that were moved
    """
    share = context.cache.share
    block = block_from_maps(model.maps[0], max(plan.radius_px, 2))
    weights = 2 / model.noise_variance
    gathered = Gathered(len(context.cache.samples))
    for rows, modes in _modes(model, context, radius_px):
        images = images_within(context.cache, rows, plan.radius_px)
        search = LocalSearch(block, images, weights, plan.prior)
        fit = search_from(search, _candidates(model, context, rows, modes), plan)
        best = best_of_rows(fit.log_evidence, fit.candidates.rows, len(rows))
        chosen, far = fit.candidates[best], (best >= len(rows)).float()
        at = chosen.rotations, chosen.shifts_px, chosen.scales, chosen.latents
        believed = fit.covariance[best][:, LATENT, LATENT], fit.log_evidence[best]
        gathered.put(share.local(rows), *at, *believed, far)
    joined = share.joined(gathered.columns())
    rotations, shifts_px, scales, latents, covariances, evidence, moved = joined
    candidates = Candidates(rotations, shifts_px, scales, latents, model.candidates.rows)
    changed = replace(model, candidates=candidates, covariances=covariances, log_evidence=evidence)
    return changed, float(moved.mean())


def _modes(model: Model, context: Context, radius_px: int) -> Iterator[tuple[Tensor, PoseModes]]:
    """Rows held here, some at a time, and their modes against the mean map."""
    images = context.polar
    bank, trials = mean_bank(model, context, radius_px)
    count, done = len(context.cache), 0
    for rows in images.share.tiles(torch.arange(count, device=context.device), images.at_once):
        yield rows, pose_modes(bank, images.batch(rows, radius_px), trials, MODES, APART_DEG)
        done += len(rows) * images.share.size
        context.progress(0.5 * min(done / count, 1.0))


def _candidates(model: Model, context: Context, rows: Tensor, modes: PoseModes) -> Candidates:
    """The present poses of some rows, then the modes that differ from them and are worth a look.

    Their latents begin at zero: from another pose the present ones mean nothing.
    """
    own = replace(model.candidates[rows], rows=torch.arange(len(rows), device=rows.device))
    rotations = context.polar.grid.rotations()[modes.pose_rows]
    far = geodesic_deg(rotations, own.rotations[:, None]) > APART_DEG / 2
    worth = modes.scores > modes.scores[:, :1] - WORTH_NATS
    image, mode = torch.nonzero(far & worth & (modes.scores > -math.inf), as_tuple=True)
    return Candidates(
        torch.cat([own.rotations, rotations[image, mode]]),
        torch.cat([own.shifts_px, context.polar.shifts_px[modes.shift_rows[image, mode]]]),
        torch.cat([own.scales, torch.ones(len(image), device=rows.device)]),
        torch.cat([own.latents, own.latents.new_zeros(len(image), own.latents.shape[1])]),
        torch.cat([own.rows, image]),
    )


def best_of_rows(evidence: Tensor, rows: Tensor, count: int) -> Tensor:
    """(count,) index of the candidate of highest evidence of each row; the first of equals."""
    top = evidence.new_full((count,), -math.inf).scatter_reduce(0, rows, evidence, "amax")
    index = torch.arange(len(rows), device=rows.device)
    first = torch.where(evidence >= top[rows], index, len(rows))
    return torch.full_like(rows[:count], len(rows)).scatter_reduce(0, rows, first, "amin")

"""Dimensions that show only among particles of like latents.

A small part by which some of the particles differ is lost in the noise of a component that all of them have
part in: as many voxels as a molecule has are unknown, whatever they differ by. Among particles that are
alike otherwise both half-sets find it. Components so found join the subspace, and all particles say what
they are in the passes after it (theory eq. 19; docs/decisions/0018).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nunatak.reconstruct.dimensions import (
    LEAST_CORRELATION,
    free_directions,
    grown_by_halves,
    shared_directions,
)
from nunatak.reconstruct.model import Model, SearchPlan, expect
from nunatak.reconstruct.molecules import likeliest_groups
from nunatak.reconstruct.orient import start_radius
from nunatak.reconstruct.passes import COUNTED, scattered
from nunatak.reconstruct.state import Context, RunState
from nunatak.search.local import LocalPrior
from nunatak.volumes.maps import change_box, low_passed

ADDED = "dimensions within groups"
"""Name under which a state keeps how many dimensions groups of latents have added."""
MOST_GROUPS = 8
LEAST_MEMBERS = 1000
"""Groups of fewer particles are not asked, and sets of fewer are not divided."""
LEAST_NEW = 0.3
"""Correlation, without the components that there are, of a direction that they do not hold already."""
LEAST_SURE = 0.95
"""Mean probability of the members of a group that lies apart: large pieces of a path had 0.72 to 0.9."""
# So much of what a group's members are unsure of makes two groups one: a piece of a path has two neighbours.
_MUCH_OF_THE_DOUBT = 0.25
MOST_OF_ALL = 0.8
"""A larger part of the particles is not a group of them."""
# Particles that are alike have all that most of them have.
_LEAST_DENSITY = 0.15
# Few dimensions, because few are left: noise of others slows the growth down.
_DIMENSIONS, _PASSES = 4, 10
# Half way, or the other half is spared.
_PROMISING = 0.25


def group_dimensions_pass(state: RunState, context: Context) -> RunState:
    """Components that the half-sets of some group of latents both find, beside those that there are."""
    model, share = state.oriented, context.cache.share
    radius = max(4, min(round(0.6 * start_radius(context)), model.radius_px))
    isolated: list[Tensor] = []
    if len(context.cache) >= LEAST_MEMBERS:
        shares = likeliest_groups(model.candidates.latents, MOST_GROUPS, context.config.seed)
        isolated = apart(share.agreed(shares))
    maps, groups = model.maps, []
    for done, members in enumerate(isolated):
        size = int((members & context.sound).sum())
        room = context.config.most_latents - (maps.shape[1] - 1)
        if size >= LEAST_MEMBERS and room > 0:
            found, correlations = directions_within(model, members, maps[:, 1:].mean(0), radius, context)
            found = found[:room]
            maps = torch.cat([maps, found[None].expand(len(maps), -1, -1, -1, -1)], 1)
            groups.append({"images": size, "found": len(found), "shared_directions": correlations})
        context.progress((done + 1) / len(isolated))
    added = maps.shape[1] - model.maps.shape[1]
    if added:
        model = with_components(model, maps, radius, context)
    record: dict[str, Any] = {"radius_px": radius, "added": added, "groups": groups}
    kept = {**state.kept, ADDED: added, COUNTED: model.latent_dim}
    return replace(state, model=model, kept=kept, history=(*state.history, record))


def apart(shares: Tensor) -> list[Tensor]:
    """The members, (n,) bool, of each set of groups that lies apart from the others.

    Groups with unsure members are put together with those that they overlap with. The pieces of a path are
    one set so, and a set of nearly all particles is left out: it has been counted.

    Parameters
    ----------
    shares : (n, k)
        Probabilities of the groups.
    """
    count = shares.shape[1]
    labels = shares.argmax(1)
    members = torch.nn.functional.one_hot(labels, count).to(shares)
    confusion = (members.T @ shares) / members.sum(0)[:, None].clamp(min=1)
    unsure = 1 - confusion.diagonal()
    others = confusion - confusion.diagonal().diag()
    overlap = (others > _MUCH_OF_THE_DOUBT * unsure[:, None]) & (unsure > 1 - LEAST_SURE)[:, None]
    together = overlap | overlap.T | torch.eye(count, dtype=torch.bool, device=shares.device)
    for _ in range(count):  # whatever is reached over others
        together = (together.to(shares) @ together.to(shares)) > 0
    sets = together.to(torch.uint8).argmax(1)[labels]
    found = [sets == number for number in sets.unique()]
    return [one for one in found if float(one.float().mean()) < MOST_OF_ALL]


def have_added(state: RunState) -> bool:
    """Whether groups of latents have added dimensions."""
    return bool(state.kept.get(ADDED, 0))


def directions_within(
    model: Model, members: Tensor, known: Tensor, radius_px: int, context: Context
) -> tuple[Tensor, list[float]]:
    """Components by which some particles differ and that no known one holds, and all correlations.

    Parameters
    ----------
    members : (n,) bool
    known : (q, d, d, d) float32

    Returns
    -------
    (k, d, d, d) float32, as long as the particles' standard deviation along each; and the falling canonical
    correlations between the half-sets, known components or not
    """
    grown = scattered(replace(model, sound=context.sound & members), _DIMENSIONS, context)
    shared = known.new_zeros(_DIMENSIONS)
    for _ in range(2):
        grown = grown_by_halves(grown, _PASSES, radius_px, _LEAST_DENSITY, context)
        shared = shared_directions(grown.maps, radius_px)
        if float(shared[0]) < _PROMISING:
            break
    bases = free_directions(grown.maps, radius_px, change_box(known, grown.maps.shape[-1]))
    left, new, right = torch.linalg.svd(bases[0].T @ bases[1])
    count = min(int((shared > LEAST_CORRELATION).sum()), int((new > LEAST_NEW).sum()))
    both = torch.stack([bases[0] @ left[:, :count], bases[1] @ right[:count].T]).sum(0)
    both = both / both.norm(dim=0).clamp(min=1e-12)
    spread = torch.stack([maps.flatten(1) @ both for maps in low_passed(grown.maps, radius_px)[:, 1:]])
    length = spread.square().sum(1).mean(0).sqrt()
    found = (both * length).T.view(count, *grown.maps.shape[2:])
    return change_box(found, known.shape[-1]), [round(float(c), 3) for c in shared]


def with_components(model: Model, maps: Tensor, radius_px: int, context: Context) -> Model:
    """The model with more components, and latents that are found anew at the poses that there are."""
    latents = model.candidates.latents
    more = maps.shape[1] - 1 - latents.shape[1]
    count = len(latents)
    candidates = replace(model.candidates, latents=torch.cat([latents, latents.new_zeros(count, more)], 1))
    dim = maps.shape[1] - 1
    wider = replace(model, maps=maps, candidates=candidates, covariances=latents.new_zeros(count, dim, dim))
    plan = SearchPlan(radius_px, torch.zeros(1, 3, device=context.device), 0, LocalPrior(pose=False))
    moved, _ = expect(wider, context.cache, plan)
    return replace(moved, noise_variance=model.noise_variance)

"""The stages that look for several molecules, weigh them against states of one, and refine them.

Molecules are corners of a simplex in latent space (nunatak.latent.classes): K maps are a mean and K - 1
components, and each particle's latent is its molecule's corner and stays there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nunatak.core.gathered import Gathered
from nunatak.geometry.rotations import geodesic_deg
from nunatak.geometry.so3_grid import tangent_offsets
from nunatak.latent.classes import Simplex, simplex
from nunatak.projection.gridding import block_from_maps
from nunatak.reconstruct import molecules
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.consensus import ConsensusState
from nunatak.reconstruct.dimensions import SPARE
from nunatak.reconstruct.model import Model, SearchPlan, expect, images_within, maximize, search_from
from nunatak.reconstruct.orient import local_prior, start_radius
from nunatak.reconstruct.passes import CLASSES, COUNTED, refined
from nunatak.reconstruct.pseudosymmetry import pseudosymmetry_pass, told_apart
from nunatak.reconstruct.second_look import best_of_rows
from nunatak.reconstruct.stages import Stage
from nunatak.reconstruct.state import Context, RunState
from nunatak.search.candidates import Candidates
from nunatak.search.local import LocalSearch
from nunatak.volumes.maps import change_box

GROUPS = "groups"
"""Name under which a state keeps the groups of latents while they are started."""
LEAST_DIMENSIONS = 4
"""Fewer are what one molecule's states differ by."""
BETTER_NATS = 1.0
"""By which several molecules must explain an image better than states of one."""
_CHOICES, _WORTH_NATS = 3, 30.0
_SORTING_PASSES, _AXES = 3, 7


def may_be_several(state: RunState) -> bool:
    """Whether so many dimensions were counted that there may be several molecules."""
    return int(state.kept.get(COUNTED, 0)) >= LEAST_DIMENSIONS + SPARE


def are_several(state: RunState) -> bool:
    """Whether several molecules were found."""
    return CLASSES in state.kept


def group_pass(state: RunState, context: Context) -> RunState:
    """A start from nothing for one more group of latents."""
    if state.passes == 0:
        latents = state.oriented.candidates.latents
        labels = molecules.groups_of(latents, context.config.most_molecules, context.config.seed)
        groups: dict[str, Any] = {"labels": context.cache.share.agreed(labels), "starts": (), "sizes": ()}
    else:
        groups = state.kept[GROUPS]
    members = groups["labels"] == state.passes
    start, size = molecules.started(members, state.passes, context), int(members.sum())
    record: dict[str, Any] = {"group": state.passes, "images": size}
    if start is not None:
        groups = {**groups, "starts": (*groups["starts"], start), "sizes": (*groups["sizes"], size)}
    return replace(state, kept={**state.kept, GROUPS: groups}, history=(*state.history, record))


def sort_pass(state: RunState, context: Context) -> RunState:
    """Which maps are of different molecules; each learns on from the images that are its own."""
    groups = state.kept[GROUPS]
    kept = molecules.distinct(groups["starts"], groups["sizes"], context)
    starts, division = tuple(groups["starts"][k] for k in kept), None
    if len(starts) > 1:
        division = molecules.divided(starts, context)
        kept = molecules.needed(division, _judged(context))
        division, starts = division.of(kept), tuple(starts[k] for k in kept)
        owner, learning = division.responsibilities.argmax(1), context.sound & ~molecules.held_out(context)
        starts = tuple(_learnt(s, (owner == k) & learning, k, context) for k, s in enumerate(starts))
        division = molecules.divided(starts, context)
    found = {"starts": starts, "division": division, "refused": (), "tried": 0}
    return _with_groups(state, found, context)


def dissolve_pass(state: RunState, context: Context) -> RunState:
    """Try to do without the map that is missed least: its images may be another's of the same molecule."""
    groups = state.kept[GROUPS]
    starts, division, refused = groups["starts"], groups["division"], groups["refused"]
    rows, tried = _judged(context), groups["tried"] + 1
    number = molecules.doubtful(division, rows, refused)[0]
    fewer, left = molecules.without((starts, division), number, 100 + tried, context)
    lost = molecules.score(division, rows) - molecules.score(left, rows)
    if lost < molecules.WORTH_A_MAP_NATS:
        starts, division, refused = fewer, left, ()
    else:
        refused = (*refused, number)
    found = {"starts": starts, "division": division, "refused": refused, "tried": tried}
    return _with_groups(state, found, context)


def _judged(context: Context) -> Tensor:
    return torch.nonzero(molecules.held_out(context) & context.sound).flatten()


def _with_groups(state: RunState, found: dict[str, Any], context: Context) -> RunState:
    division, rows = found["division"], _judged(context)
    record: dict[str, Any] = {"maps": len(found["starts"])}
    left: list[int] = []
    if division is not None:
        left = molecules.doubtful(division, rows, found["refused"])
        record["held_out_evidence"] = molecules.score(division, rows)
        record["populations"] = [round(float(w), 4) for w in division.weights]
    kept = {**state.kept, GROUPS: {**found, "left": tuple(left)}}
    return replace(state, kept=kept, history=(*state.history, record))


def _nothing_is_doubtful(state: RunState) -> bool:
    return not state.kept[GROUPS]["left"]


def some_is_doubtful(state: RunState) -> bool:
    """Whether there is a map that may be another's of the same molecule."""
    return may_be_several(state) and not _nothing_is_doubtful(state)


def _learnt(start: ConsensusState, members: Tensor, label: int, context: Context) -> ConsensusState:
    rows = torch.nonzero(members).flatten()
    return molecules.advanced(start, rows, label, context) if len(rows) >= molecules.LEAST_MEMBERS else start


def choose_pass(state: RunState, context: Context) -> RunState:
    """Take the molecules where they explain the images better than states of one molecule do."""
    history: dict[str, Any] = {"molecules": 1}
    starts = state.kept[GROUPS]["starts"]
    kept = {name: value for name, value in state.kept.items() if name != GROUPS}
    if len(starts) > 1:
        states = state.oriented
        sorted_out, owner = _sorted_out(starts, state.kept[GROUPS]["division"], states, context)
        evidence = _explained(states, True, context), _explained(sorted_out, False, context)
        history |= {"evidence_of_states": evidence[0], "evidence_of_molecules": evidence[1]}
        if evidence[1] > evidence[0] + BETTER_NATS:
            history["molecules"] = len(starts)
            shares = torch.bincount(owner, minlength=len(starts)) / len(owner)
            history["populations"] = [round(float(share), 4) for share in shares]
            state = replace(state, model=sorted_out)
            kept[CLASSES] = owner
    return replace(state, kept=kept, history=(*state.history, history))


def _sorted_out(
    starts: tuple[ConsensusState, ...], division: molecules.Division, states: Model, context: Context
) -> tuple[Model, Tensor]:
    """A model of the molecules with poses of local searches, and (n,) the molecule of each particle."""
    box = states.maps.shape[-1]
    corners = simplex(division.weights)
    maps = corners.maps(torch.cat([change_box(start.maps, box) for start in starts]))
    radius = min(start_radius(context), states.radius_px)
    owner = division.responsibilities.argmax(1)
    count = len(owner)
    every = torch.arange(count, device=context.device)
    poses = context.polar.grid.rotations()[division.pose_rows[every, owner]]
    candidates = Candidates(
        poses,
        context.polar.shifts_px[division.shift_rows[every, owner]],
        torch.ones(count, device=context.device),
        corners.vertices[owner],
        every,
    )
    dim = corners.vertices.shape[1]
    model = replace(
        states,
        maps=maps[None],
        radius_px=radius,
        correlation=maps.new_zeros(1 + dim, maps.shape[-1] // 2),
        candidates=candidates,
        covariances=maps.new_zeros(count, dim, dim),
    )
    for number in range(_SORTING_PASSES):
        turns = tangent_offsets(6.0 if number < 2 else 3.0)[:_AXES]
        model, owner = _sorted_once(model, division, corners, (owner, turns), context)
        reach = min(start_radius(context) + 2, context.limit_px)
        model = maximize(model, context.cache, reach, context.mask_fraction, True)
    return model, owner


def _sorted_once(
    model: Model,
    division: molecules.Division,
    corners: Simplex,
    present: tuple[Tensor, Tensor],
    context: Context,
) -> tuple[Model, Tensor]:
    """Every image's present pose, and those of other molecules that may be its own, refined and compared."""
    owner, turns = present
    radius, cache = min(start_radius(context), model.radius_px), context.cache
    block, weights = block_from_maps(model.maps[0], max(radius, 2)), 2 / model.noise_variance
    plan = SearchPlan(radius, turns, 2, local_prior(context, 3.0, latent=False))
    gathered, done = Gathered(len(cache.samples)), 0
    at_once = max(64, cache.tiles.local // len(turns))
    for rows in cache.share.tiles(torch.arange(len(owner), device=context.device), at_once):
        start, label = _choices(model, division, corners, (rows, owner[rows]), context)
        search = LocalSearch(block, images_within(cache, rows, radius), weights, plan.prior)
        fit = search_from(search, start, plan)
        score = division.weights.log()[label] - fit.objective
        best = best_of_rows(score, fit.candidates.rows, len(rows))
        found = fit.candidates[best]
        at = found.rotations, found.shifts_px, found.scales, found.latents, label[best], score[best]
        gathered.put(cache.share.local(rows), *at)
        done += len(rows)
        context.progress(done * cache.share.size / len(owner))
    rotations, shifts, scales, latents, owner, score = cache.share.joined(gathered.columns())
    candidates = Candidates(rotations, shifts, scales, latents, model.candidates.rows)
    return replace(model, candidates=candidates, log_evidence=score), owner


def _choices(
    model: Model,
    division: molecules.Division,
    corners: Simplex,
    present: tuple[Tensor, Tensor],
    context: Context,
) -> tuple[Candidates, Tensor]:
    """The present poses of some rows, then the best of the grid with the likeliest other molecules."""
    rows, owner = present
    count = len(rows)
    places = torch.arange(count, device=rows.device)
    evidence = division.evidence[rows] + division.weights.log()
    order = evidence.argsort(1, descending=True)[:, :_CHOICES]
    near = evidence.gather(1, order) > evidence.amax(1, keepdim=True) - _WORTH_NATS
    image, rank = torch.nonzero(near & (order != owner[:, None]), as_tuple=True)
    label = order[image, rank]
    grid = division.pose_rows[rows[image], label], division.shift_rows[rows[image], label]
    own = model.candidates[rows]
    start = Candidates(
        torch.cat([own.rotations, context.polar.grid.rotations()[grid[0]]]),
        torch.cat([own.shifts_px, context.polar.shifts_px[grid[1]]]),
        torch.cat([own.scales, torch.ones(len(image), device=rows.device)]),
        corners.vertices[torch.cat([owner, label])],
        torch.cat([places, image]),
    )
    return start, torch.cat([owner, label])


def _explained(model: Model, free: bool, context: Context) -> float:
    """Mean log evidence of held-out images, poses refined, with maps that none of them has part in.

    Maps that an image is in explain some of its noise, at any pose; more of it, the more maps there are.

    Parameters
    ----------
    free : bool
        Latents are states' and found with the poses; false: they are molecules' and known.
    """
    held = molecules.held_out(context) & context.sound
    radius = start_radius(context)
    reach = min(radius + 2, context.limit_px)
    learning = replace(model, sound=context.sound & ~held)
    made = maximize(learning, context.cache, reach, context.mask_fraction, True)
    stay = torch.zeros(1, 3, device=context.device)
    # Filtered maps are a little weak: free latents make up for that, held ones only with contrast.
    prior = replace(local_prior(context, 3.0, latent=free), scale_sd=max(context.config.contrast_sd, 0.2))
    plan = SearchPlan(min(radius, made.radius_px), stay, 2, prior)
    return float(expect(made, context.cache, plan)[0].log_evidence[held].mean())


def refine_molecules_pass(state: RunState, context: Context) -> RunState:
    """One pass of poses against the particles' own molecules, each half-set against maps of its own."""
    turns = tangent_offsets(3.0)[:_AXES] if state.passes == 0 else torch.zeros(1, 3, device=context.device)
    before = state.oriented
    found = refined(state, context, turns, latent=False)
    moved = geodesic_deg(before.candidates.rotations, found.oriented.candidates.rotations)
    return replace(found, pose_change_deg=float(moved.median()))


def several_molecules(config: EngineConfig) -> tuple[Stage, ...]:
    """Molecules that share nothing, where the states of one do not explain the images as well."""
    if config.most_molecules < 2 or not config.counts_latents:
        return ()
    # Most runs leave these out: counted in full they would make the progress of all others jump.
    cost = 0.2
    stages = (
        Stage("a start for each group of latents", group_pass, config.most_molecules, cost=cost),
        Stage("which molecules there are", sort_pass, 1, cost=cost),
        Stage("molecules or states", choose_pass, 1, cost=cost),
    )
    dissolve = Stage(
        "maps that may be of the same molecule",
        dissolve_pass,
        2 * config.most_molecules,
        _nothing_is_doubtful,
        cost=cost,
        applies=some_is_doubtful,
    )
    alike = Stage(
        "orientations that look alike", pseudosymmetry_pass, 8, told_apart, cost, applies=are_several
    )
    refine = Stage("refining the molecules", refine_molecules_pass, 6, cost=cost, applies=are_several)
    starts, sort, choose = (replace(stage, applies=may_be_several) for stage in stages)
    return starts, sort, dissolve, choose, alike, refine

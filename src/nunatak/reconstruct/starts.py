"""The race of random starts: many begin, the weaker half is dropped after each round, one goes on.

Judged on images that no start learns from. A start that has found the structure stands out early and clearly;
one that has not may still find it, so half of them are given more time (docs/decisions/0002).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nunatak.core.collective import ALONE, Group
from nunatak.reconstruct.consensus import (
    ConsensusConfig,
    ConsensusState,
    PolarImages,
    consensus_update,
    expect,
    radius_at,
    random_start,
)
from nunatak.reconstruct.state import Context, RunState
from nunatak.volumes.agreement import aligned_correlation
from nunatak.volumes.maps import radius_grid

SAME_MAP = 0.6
"""Mean FSC from which two aligned maps are the same (docs/decisions/0009)."""
_LEAST_RADIUS_PX = 10
# Of the radius that starts end with: up to there they are compared after the first round.
_COMPARED = 0.7


def batch_rows(update: int, learning: Tensor, batch: int, context: Context, label: int) -> Tensor:
    """Rows of one update: epochs of a start run through all learning images, each in an order of its own."""
    per_epoch = max(1, len(learning) // batch)
    epoch, position = divmod(update, per_epoch)
    draw = context.generator(17, label, epoch)
    order = torch.randperm(len(learning), generator=draw).to(learning.device)
    return learning[order[position * batch : (position + 1) * batch]]


def held_out_evidence(
    state: ConsensusState, images: PolarImages, config: ConsensusConfig, rows: Tensor
) -> Tensor:
    """(k,) log evidence against pure noise of images that the state has not learnt from; rows in order."""
    radius = radius_at(state.update, config)
    parts = [found.log_evidence for _, found, _ in expect(state, images, rows, radius)]
    return images.share.joined(torch.cat([state.maps.new_zeros(0), *parts]))


def spherical_average(maps: Tensor) -> Tensor:
    """(c, d, d, d) maps with every voxel replaced by the mean of its distance from the centre."""
    shells = radius_grid(maps.shape[-1], maps.device).round().long().flatten()
    counts = torch.bincount(shells).clamp(min=1)
    flat = maps.flatten(1)
    means = flat.new_zeros(len(flat), len(counts)).index_add_(1, shells, flat) / counts
    return means[:, shells].view_as(maps)


def rounds(restarts: int) -> list[int]:
    """Starts still in the race in each round, down to one: 8, 4, 2, 1."""
    sizes = [restarts]
    while sizes[-1] > 1:
        sizes.append((sizes[-1] + 1) // 2)
    # A single start is given as many updates as the winner of a race of four.
    return sizes if restarts > 2 else sizes + [1] * (3 - len(sizes))


def race_length(restarts: int) -> int:
    """Passes of the race once all starts are open: one per start still in it and round."""
    return sum(rounds(restarts)[1:])


def _position(passes: int, sizes: list[int]) -> tuple[int, int]:
    """Round and place in the round of a pass."""
    for number, size in enumerate(sizes):
        if passes < size:
            return number, passes
        passes -= size
    raise IndexError(passes)


def _advanced(start: ConsensusState, label: int, context: Context) -> ConsensusState:
    """A start after one round's updates, judged on the held-out images."""
    config, images = context.consensus, context.polar
    rows, updates = learning_rows(context), context.config.start_updates
    for done in range(updates):
        start = consensus_update(
            start, images, config, batch_rows(start.update, rows, config.batch, context, label)
        )
        context.progress((done + 1) / updates)
    evidence = float(held_out_evidence(start, images, config, context.held_out).mean())
    return replace(start, log_evidence=evidence)


def learning_rows(context: Context) -> Tensor:
    """Rows that may be learnt from before it is known whether there is a structure: sound, not held out."""
    learning = context.sound.clone()
    learning[context.held_out] = False
    return torch.nonzero(learning).flatten()


def _record(start: ConsensusState, label: int, context: Context) -> dict[str, Any]:
    return {
        "restart": label,
        "update": start.update,
        "radius_px": radius_at(start.update, context.consensus),
        "log_evidence": start.log_evidence,
    }


def agreement(first: ConsensusState, second: ConsensusState, radius_px: int, group: Group = ALONE) -> float:
    """Mean FSC of two aligned maps over the upper two thirds of a radius; 0 below 10 Fourier pixels.

    At low frequencies blobs agree whatever they are: starts on pure noise reach 0.3 at radius 14, starts that
    have found the same structure 0.8 (docs/decisions/0009).
    """
    if radius_px < _LEAST_RADIUS_PX:
        return 0.0
    curve = aligned_correlation(first.maps[0], second.maps[0], radius_px, group)
    return float(curve[radius_px // 3 :].mean())


def compared_radius(context: Context) -> int:
    """Fourier radius up to which maps of starts are compared."""
    return round(_COMPARED * context.consensus.radius_end_px)


def open_pass(state: RunState, context: Context) -> RunState:
    """One more random start, given one round's updates and compared with those before it."""
    label = len(state.starts)
    generator = context.generator(19, label)
    start = random_start(context.polar, context.consensus, learning_rows(context), generator)
    start = _advanced(start, label, context)
    radius = compared_radius(context)
    shared = [agreement(start, other, radius, context.cache.share) for other in state.starts]
    record = {**_record(start, label, context), "agreement": max(shared, default=0.0)}
    return replace(
        state,
        starts=(*state.starts, start),
        start_labels=(*state.start_labels, label),
        history=(*state.history, record),
    )


def agreed(state: RunState) -> bool:
    """Two starts have come to the same map from unrelated beginnings: no more of them are needed."""
    return any(record.get("agreement", 0.0) > SAME_MAP for record in state.history)


def race_pass(state: RunState, context: Context) -> RunState:
    """Advance one start by one round's updates; before each round the weaker half is dropped.

    Where two starts have agreed, only the best goes on.
    """
    sizes = rounds(context.config.restarts)[1:]
    number, place = _position(state.passes, sizes)
    starts, labels = list(state.starts), list(state.start_labels)
    if place == 0:
        kept = 1 if agreed(state) else sizes[number]
        order = sorted(range(len(starts)), key=lambda i: -starts[i].log_evidence)[:kept]
        starts, labels = [starts[i] for i in order], [labels[i] for i in order]
    starts[place] = _advanced(starts[place], labels[place], context)
    record = _record(starts[place], labels[place], context)
    return replace(state, starts=tuple(starts), start_labels=tuple(labels), history=(*state.history, record))


def winner(state: RunState) -> tuple[ConsensusState, int]:
    """The start of highest held-out evidence, and its number."""
    best = max(range(len(state.starts)), key=lambda i: state.starts[i].log_evidence)
    return state.starts[best], state.start_labels[best]


def decided(state: RunState, least_updates: int, tolerance: float = 0.015) -> bool:
    """More updates would change nothing: two starts given more than one round end at the same evidence.

    Starts that have not found the structure differ from each other; those that have end at the same evidence.
    Of starts that agreed already, the one that went on has had its second round.
    """
    best = max(start.log_evidence for start in state.starts)
    later = [s for s in state.starts if s.update > least_updates and s.log_evidence > (1 - tolerance) * best]
    return best > 0 and len(later) >= (1 if agreed(state) else 2)

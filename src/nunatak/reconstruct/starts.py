"""The race of random starts: many begin, the weaker half is dropped after each round, one goes on.

Judged on images that no start learns from. A start that has found the structure stands out early and clearly;
one that has not may still find it, so half of them are given more time (docs/decisions/0002).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

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
from nunatak.volumes.maps import radius_grid


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
    """(k,) log evidence against pure noise of images that the state has not learnt from."""
    radius = radius_at(state.update, config)
    return torch.cat([found.log_evidence for _, found, _ in expect(state, images, rows, radius)])


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
    """Passes that a race takes: one per start and round."""
    return sum(rounds(restarts))


def _position(passes: int, sizes: list[int]) -> tuple[int, int]:
    """Round and place in the round of a pass."""
    for number, size in enumerate(sizes):
        if passes < size:
            return number, passes
        passes -= size
    raise IndexError(passes)


def race_pass(state: RunState, context: Context) -> RunState:
    """Advance one start by one round's updates; at the end of a round drop the weaker half."""
    config, images = context.consensus, context.polar
    sizes = rounds(context.config.restarts)
    number, place = _position(state.passes, sizes)
    learning = torch.ones(len(images), dtype=torch.bool, device=context.device)
    learning[context.held_out] = False
    rows = torch.nonzero(learning).flatten()
    if number == 0:
        label = place
        start = random_start(images, config, rows, context.generator(19, label))
    else:
        label, start = state.start_labels[place], state.starts[place]
    updates = context.config.start_updates
    for done in range(updates):
        start = consensus_update(
            start, images, config, batch_rows(start.update, rows, config.batch, context, label)
        )
        context.progress((done + 1) / updates)
    evidence = float(held_out_evidence(start, images, config, context.held_out).mean())
    start = replace(start, log_evidence=evidence)
    starts, labels = list(state.starts), list(state.start_labels)
    if number == 0:
        starts, labels = [*starts, start], [*labels, label]
    else:
        starts[place] = start
    round_is_over = place + 1 == sizes[number] and number + 1 < len(sizes)
    if round_is_over and not decided(starts, updates):
        order = sorted(range(len(starts)), key=lambda i: -starts[i].log_evidence)[: sizes[number + 1]]
        starts, labels = [starts[i] for i in order], [labels[i] for i in order]
    record = {
        "restart": label,
        "update": start.update,
        "radius_px": radius_at(start.update, config),
        "log_evidence": evidence,
    }
    return replace(state, starts=tuple(starts), start_labels=tuple(labels), history=(*state.history, record))


def winner(state: RunState) -> tuple[ConsensusState, int]:
    """The start of highest held-out evidence, and its number."""
    best = max(range(len(state.starts)), key=lambda i: state.starts[i].log_evidence)
    return state.starts[best], state.start_labels[best]


def decided(starts: Sequence[ConsensusState], least_updates: int, tolerance: float = 0.015) -> bool:
    """Two starts that were given more than one round agree with the best: more updates would change nothing.

    Starts that have not found the structure differ from each other; those that have end at the same evidence.
    """
    best = max(start.log_evidence for start in starts)
    agree = [s for s in starts if s.update > least_updates and s.log_evidence > (1 - tolerance) * best]
    return best > 0 and len(agree) >= 2

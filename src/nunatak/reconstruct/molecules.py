"""Several molecules in one stack: maps of their own for groups of latents, sorted by evidence.

One map orients a mixture of unrelated molecules at random, yet the subspace that grows on it tells them
apart. Groups of its latents are started each by itself; groups whose maps agree are one molecule; images go
where the evidence, summed over all poses, says; and a map is dropped when the others explain images that no
map has learnt from as well without it (theory eq. 22, docs/decisions/0020).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from nunatak.core.gathered import Gathered
from nunatak.reconstruct.consensus import ConsensusState, consensus_update, expect, radius_at, random_start
from nunatak.reconstruct.starts import SAME_MAP, agreement, batch_rows, compared_radius
from nunatak.reconstruct.state import Context

HELD_OUT = 0.2
"""Part of the images that no map of a molecule is made from, so that their evidence is honest."""
LEAST_MEMBERS = 200
"""Fewer images make no map."""
WORTH_A_MAP_NATS = 0.5
"""Mean over all held-out images: a map that is missed less than this is not a molecule's."""
SURE_NATS = 5.0
"""A map that is missed more than this is, and no trial is made without it."""
_GROUP_TRIES = 3
# Latents that groups are found from.
_GROUPED = 20_000


@dataclass(frozen=True)
class Division:
    """What some maps say about every image.

    Attributes
    ----------
    evidence : (n, k) float32
        Log evidence of every image with each map, summed over poses and shifts.
    pose_rows, shift_rows : (n, k) int64
        Best row of the grid, and of the trial shifts, with each.
    weights : (k,) float32
        Share of each molecule.
    """

    evidence: Tensor
    pose_rows: Tensor
    shift_rows: Tensor
    weights: Tensor

    @property
    def responsibilities(self) -> Tensor:
        """(n, k) posterior probability of each molecule."""
        return torch.softmax(self.evidence + self.weights.log(), 1)

    def of(self, kept: list[int]) -> Division:
        """What some of the maps say."""
        evidence, poses, shifts = (part[:, kept] for part in (self.evidence, self.pose_rows, self.shift_rows))
        return with_weights(Division(evidence, poses, shifts, self.weights[kept]))


def with_weights(division: Division, updates: int = 20) -> Division:
    """The division with the molecules' shares that fit it best, by expectation-maximisation."""
    weights = torch.full_like(division.weights, 1 / len(division.weights))
    for _ in range(updates):
        weights = torch.softmax(division.evidence + weights.log(), 1).mean(0).clamp(min=1e-6)
    return replace(division, weights=weights)


def held_out(context: Context) -> Tensor:
    """(n,) bool: images that maps of molecules are judged on."""
    draw = torch.rand(len(context.cache), generator=context.generator(51)).to(context.device)
    return draw < HELD_OUT


def groups_of(latents: Tensor, most: int, seed: int) -> Tensor:
    """(n,) labels of Gaussian groups in a latent space, as many as asked for."""
    return _grouped(latents, (most,), seed).argmax(1)


def likeliest_groups(latents: Tensor, most: int, seed: int) -> Tensor:
    """(n, k) probabilities of Gaussian groups in a latent space, of the number that the BIC prefers."""
    return _grouped(latents, range(1, most + 1), seed)


def _grouped(latents: Tensor, numbers: Iterable[int], seed: int) -> Tensor:
    points = latents.double().cpu().numpy()
    some = points[np.random.default_rng(seed).permutation(len(points))[:_GROUPED]]
    distinct_points = len(np.unique(some, axis=0))  # of images that are one image there is one
    asked = sorted({min(k, distinct_points) for k in numbers})
    fits = [GaussianMixture(k, n_init=_GROUP_TRIES, random_state=seed).fit(some) for k in asked]
    best = min(fits, key=lambda fit: fit.bic(some)) if len(fits) > 1 else fits[0]
    return torch.from_numpy(np.asarray(best.predict_proba(points))).to(latents)


def started(members: Tensor, label: int, context: Context) -> ConsensusState | None:
    """A start from nothing on some images, after one round of updates; None where they are too few."""
    rows = torch.nonzero(members & context.sound & ~held_out(context)).flatten()
    if len(rows) < LEAST_MEMBERS:
        return None
    start = random_start(context.polar, context.consensus, rows, context.generator(53, label))
    return advanced(start, rows, label, context)


def advanced(start: ConsensusState, rows: Tensor, label: int, context: Context) -> ConsensusState:
    """A start after one more round of updates on some rows."""
    updates = context.config.start_updates
    config = replace(context.consensus, batch=min(context.consensus.batch, max(1, len(rows) // 4)))
    for done in range(updates):
        batch = batch_rows(start.update, rows, config.batch, context, 1000 + label)
        start = consensus_update(start, context.polar, config, batch)
        context.progress((done + 1) / updates)
    return start


def divided(starts: tuple[ConsensusState, ...], context: Context) -> Division:
    """What the maps of some starts say about every image."""
    columns = [_asked(start, context) for start in starts]
    evidence, poses, shifts = (torch.stack(column, 1) for column in zip(*columns, strict=True))
    return with_weights(Division(evidence, poses, shifts, evidence.new_ones(len(starts))))


def _asked(start: ConsensusState, context: Context) -> tuple[Tensor, Tensor, Tensor]:
    images, every = context.polar, torch.arange(len(context.cache), device=context.device)
    gathered = Gathered(len(context.cache.samples))
    for part, found, _ in expect(start, images, every, radius_at(start.update, context.consensus)):
        gathered.put(images.share.local(part), found.log_evidence, found.best_pose, found.best_shift)
    evidence, poses, shifts = images.share.joined(gathered.columns())
    return evidence, poses, shifts


def distinct(starts: tuple[ConsensusState, ...], sizes: Sequence[int], context: Context) -> list[int]:
    """Which starts are to stay: of those whose maps agree, in any frame and hand, that of most images."""
    radius = compared_radius(context)
    kept: list[int] = []
    for k in sorted(range(len(starts)), key=lambda k: -sizes[k]):
        if all(agreement(starts[k], starts[j], radius, context.cache.share) < SAME_MAP for j in kept):
            kept.append(k)
    return sorted(kept)


def losses(division: Division, rows: Tensor) -> Tensor:
    """(k,) mean log evidence of some images that is lost without each of the maps."""
    joint = (division.evidence + division.weights.log())[rows]
    whole, count = torch.logsumexp(joint, 1), joint.shape[1]
    rest = [[j for j in range(count) if j != k] for k in range(count)]
    return torch.stack([(whole - torch.logsumexp(joint[:, others], 1)).mean() for others in rest])


def needed(division: Division, rows: Tensor) -> list[int]:
    """Maps that are missed, the least one dropped at a time."""
    kept = list(range(len(division.weights)))
    while len(kept) > 1:
        lost = losses(division.of(kept), rows)
        if float(lost.min()) >= WORTH_A_MAP_NATS:
            break
        kept.pop(int(lost.argmin()))
    return kept


def score(division: Division, rows: Tensor) -> float:
    """Mean log evidence of some images, whichever molecule they are."""
    return float(torch.logsumexp((division.evidence + division.weights.log())[rows], 1).mean())


def doubtful(division: Division, rows: Tensor, refused: Sequence[int]) -> list[int]:
    """Maps that a trial may be made without, those that are missed least first."""
    lost = losses(division, rows)
    order = [int(k) for k in lost.argsort() if float(lost[k]) < SURE_NATS]
    return [k for k in order if k not in refused] if len(lost) > 1 else []


def without(
    found: tuple[tuple[ConsensusState, ...], Division], k: int, label: int, context: Context
) -> tuple[tuple[ConsensusState, ...], Division]:
    """Maps without one of them, once the one that most of its images go to has learnt from them.

    That one stays, goes on from where it is, or from nothing: by what explains the images better that it did
    not learn from.
    """
    starts, division = found
    members = division.responsibilities.argmax(1) == k
    rest = [j for j in range(len(starts)) if j != k]
    starts, left = tuple(starts[j] for j in rest), division.of(rest)
    receiver = int(left.responsibilities[members].sum(0).argmax())
    members = left.responsibilities.argmax(1) == receiver
    held = held_out(context)
    rows = torch.nonzero(members & context.sound & ~held).flatten()
    anew = started(members, label, context)
    learnt = [advanced(starts[receiver], rows, label, context)] + ([] if anew is None else [anew])
    tried = [starts[receiver], *learnt]
    present = tuple(part[:, receiver] for part in (left.evidence, left.pose_rows, left.shift_rows))
    columns = [present, *(_asked(start, context) for start in learnt)]
    scores = [float(column[0][members & held].mean()) for column in columns]
    best = max(range(len(tried)), key=lambda n: scores[n])
    evidence, poses, shifts = (
        torch.cat([old[:, :receiver], new[:, None], old[:, receiver + 1 :]], 1)
        for old, new in zip((left.evidence, left.pose_rows, left.shift_rows), columns[best], strict=True)
    )
    changed = tuple(tried[best] if j == receiver else start for j, start in enumerate(starts))
    return changed, with_weights(Division(evidence, poses, shifts, left.weights))

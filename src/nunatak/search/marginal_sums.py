"""From scores over a grid of poses and shifts to what the engine needs: sums per direction, facts per image.

Every score exponentiated is the reference; where posteriors are sharp, only the significant entries are
looked at (nunatak.search.marginal_kernels).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nunatak.search import marginal_kernels as kernels
from nunatak.search.cyclic import residues, samples_of_residues, weighted_residues
from nunatak.search.polar import fold_turns, fold_weights
from nunatak.search.slice_bank import SliceBank, shifted_features


@dataclass(frozen=True)
class MarginalSums:
    """What one batch says: sums per direction for the volume, and a summary per image.

    Attributes
    ----------
    numerator : (d, n) complex64
    denominator : (d, n) float32
    log_evidence : (b,) float32
        log sum over poses of prior times likelihood ratio to pure noise.
    best_pose, best_shift : (b,) int64
    best_weight : (b,) float32
        Posterior weight of the best (pose, shift) pair.
    shift_moment : float
        Posterior mean of the squared shift, summed over the batch, in the unit of the shifts.
    """

    numerator: Tensor
    denominator: Tensor
    log_evidence: Tensor
    best_pose: Tensor
    best_shift: Tensor
    best_weight: Tensor
    shift_moment: float


def joined(parts: Sequence[MarginalSums]) -> MarginalSums:
    """The sums of several batches as those of one."""
    return MarginalSums(
        torch.stack([part.numerator for part in parts]).sum(0),
        torch.stack([part.denominator for part in parts]).sum(0),
        torch.cat([part.log_evidence for part in parts]),
        torch.cat([part.best_pose for part in parts]),
        torch.cat([part.best_shift for part in parts]),
        torch.cat([part.best_weight for part in parts]),
        sum(part.shift_moment for part in parts),
    )


def dense_weights(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior weights of (b, ...) log posteriors, in place, and (b,) log normalisers."""
    log_evidence = torch.logsumexp(scores.flatten(1), 1)
    return scores.sub_(log_evidence.view(-1, *[1] * (scores.ndim - 1))).exp_(), log_evidence


def dense_sums(
    bank: SliceBank,
    weighted: Tensor,
    squared_transfer: Tensor,
    phases: Tensor,
    shifts_px: Tensor,
    scores: Tensor,
) -> MarginalSums:
    """Every score exponentiated and every weight summed, as matrix products: the reference.

    Parameters
    ----------
    weighted : (b, n) complex64
        CTF-multiplied images.
    squared_transfer : (b, n)
    phases : (s, n) complex64
    scores : (b, s, C, d) float32
        Overwritten.
    """
    weights, log_evidence = dense_weights(scores)
    folded = _by_residue if bank.by_residue else _by_turn
    numerator, denominator = folded(bank, weights, weighted[:, None] * phases, squared_transfer)
    top, argument = weights.flatten(1).max(1)
    turns, directions = weights.shape[2:]
    place = argument % (turns * directions)
    return MarginalSums(
        numerator,
        denominator,
        log_evidence - math.log(bank.poses),
        place % directions * turns + place // directions,
        argument // (turns * directions),
        top,
        float((weights.sum((2, 3)) @ (shifts_px**2).sum(1)).sum()),
    )


def _by_residue(
    bank: SliceBank, weights: Tensor, shifted: Tensor, squared_transfer: Tensor
) -> tuple[Tensor, Tensor]:
    """Weighted sums of images on the directions, by angular residue."""
    found = weighted_residues(weights.flatten(0, 1), residues(shifted.flatten(0, 1), bank.turns), bank.turns)
    squared = residues(torch.complex(squared_transfer, torch.zeros_like(squared_transfer)), bank.turns)
    powers = weighted_residues(weights.sum(1), squared, bank.turns)
    return samples_of_residues(found, bank.turns), samples_of_residues(powers, bank.turns).real.contiguous()


def _by_turn(
    bank: SliceBank, weights: Tensor, shifted: Tensor, squared_transfer: Tensor
) -> tuple[Tensor, Tensor]:
    """The same with a sum for every turned slice, folded back."""
    features = shifted_features(shifted, bank.dtype).flatten(0, 1)
    by_pose = weights.transpose(2, 3).flatten(2).flatten(0, 1)
    numerator = by_pose.to(bank.dtype).T @ features
    denominator = weights.sum(1).transpose(1, 2).flatten(1).T @ squared_transfer
    shape = (len(bank.base), bank.turns, -1)
    return fold_turns(numerator.float().view(shape), bank.plane), fold_weights(
        denominator.view(shape), bank.plane
    )


def sparse_sums(
    bank: SliceBank,
    weighted: Tensor,
    squared_transfer: Tensor,
    phases: Tensor,
    shifts_px: Tensor,
    found: kernels.Significant,
) -> MarginalSums:
    """The same sums from the significant scores only."""
    numerator, denominator = kernels.accumulate(
        found, weighted, squared_transfer, phases, bank.plane.turns, bank.plane.mates, len(bank.base)
    )
    starts = np.searchsorted(found.image, np.arange(len(weighted)))
    top = np.maximum.reduceat(found.weight, starts)
    # The first entry of each image that holds its largest weight.
    is_top = found.weight == top[found.image]
    best = np.flatnonzero(is_top)[np.unique(found.image[is_top], return_index=True)[1]]
    squared = (shifts_px**2).sum(1).numpy()
    return MarginalSums(
        numerator,
        denominator,
        torch.from_numpy(found.log_evidence).float() - math.log(bank.poses),
        torch.from_numpy(found.pose[best].astype(np.int64)),
        torch.from_numpy(found.shift[best].astype(np.int64)),
        torch.from_numpy(top).float(),
        float((found.weight * squared[found.shift]).sum()),
    )

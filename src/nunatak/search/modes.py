"""The best poses of an image over a whole grid that differ from each other, not the best one alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nunatak.search.marginal import ImageBatch, TrialShifts
from nunatak.search.slice_bank import SliceBank


@dataclass(frozen=True)
class PoseModes:
    """Poses of b images, the best first, each at least an angle apart from those before it.

    Attributes
    ----------
    pose_rows, shift_rows : (b, k) int64
        Index into the grid's rotations and into the trial shifts.
    scores : (b, k) float32
        Log likelihood against pure noise with the shift's prior; minus infinity where the grid holds no more.
    """

    pose_rows: Tensor
    shift_rows: Tensor
    scores: Tensor


def pose_modes(
    bank: SliceBank, batch: ImageBatch, trials: TrialShifts, count: int, apart_deg: float
) -> PoseModes:
    """The `count` best poses at the best shift of each, none within an angle of a better one."""
    products = bank.products(batch.samples * batch.transfer, trials.phases).float()
    scores, shifts = (products + trials.log_prior[:, None]).max(1)
    scores = scores - bank.norms(batch.transfer**2).transpose(1, 2).flatten(1)
    rotations = bank.grid.rotations().flatten(1)
    found = []
    for _ in range(count):
        top, pose = scores.max(1)
        found.append((pose, shifts.gather(1, pose[:, None])[:, 0], top))
        near = rotations[pose] @ rotations.T >= 1 + 2 * math.cos(math.radians(apart_deg))
        scores = scores.masked_fill(near, -math.inf)
    return PoseModes(*(torch.stack(column, 1) for column in zip(*found, strict=True)))

"""Compiled CPU kernels for nunatak.search.cyclic: scores at all in-plane turns, and the significant ones.

The small transform from residues to turns is done where the scores are read, so that the largest array of
the search is written once and stays in the processor's cache for a few images at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from nunatak.search.cyclic import turn_weights_of_residues
from nunatak.search.marginal_kernels import Significant, weighed

_FAST: dict[str, Any] = {"fastmath": True, "cache": True, "error_model": "numpy"}


@njit(parallel=True, **_FAST)
def _turned_scores(sums, norm, prior, inverse_temperature, cosine, sine, scores, top):  # type: ignore[no-untyped-def]
    images, shifts, turns, directions = scores.shape
    half = turns // 2
    for i in prange(images):
        even = np.empty(directions, np.float32)
        odd = np.empty(directions, np.float32)
        best = np.float32(-1e30)
        for t in range(shifts):
            row = i * shifts + t
            for s in range(half):
                even[:] = np.float32(0)
                odd[:] = np.float32(0)
                # Turning by half a circle more changes the sign of the odd residues only.
                for j in range(half + 1):
                    c, d = cosine[j, s], sine[j, s]
                    real = sums[j, row, :directions]
                    imaginary = sums[j, row, directions:]
                    if j % 2 == 0:
                        for n in range(directions):
                            even[n] += c * real[n] - d * imaginary[n]
                    else:
                        for n in range(directions):
                            odd[n] += c * real[n] - d * imaginary[n]
                high = np.float32(-1e30)
                near, far = scores[i, t, s], scores[i, t, s + half]
                for n in range(directions):
                    a = (even[n] + odd[n] - norm[i, s, n]) * inverse_temperature + prior[t]
                    b = (even[n] - odd[n] - norm[i, s + half, n]) * inverse_temperature + prior[t]
                    near[n] = a
                    far[n] = b
                    high = max(high, max(a, b))
                best = max(best, high)
        top[i] = best


@njit(parallel=True, **_FAST)
def _collect(scores, floor, count, entry_pose, entry_shift, entry_score):  # type: ignore[no-untyped-def]
    images, shifts, turns, directions = scores.shape
    room = entry_pose.shape[1]
    for i in prange(images):
        found = 0
        limit = floor[i]
        for t in range(shifts):
            for s in range(turns):
                line = scores[i, t, s]
                high = np.float32(-1e30)
                for n in range(directions):
                    high = max(high, line[n])
                if high < limit:
                    continue
                for n in range(directions):
                    if line[n] >= limit:
                        if found < room:
                            entry_pose[i, found] = n * turns + s
                            entry_shift[i, found] = t
                            entry_score[i, found] = line[n]
                        found += 1
        count[i] = found


def turned_scores(sums: Tensor, norm: Tensor, prior: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """See nunatak.search.cyclic.reference_turned_scores."""
    images, turns, directions = norm.shape
    scores = np.empty((images, len(prior), turns, directions), np.float32)
    top = np.empty(images, np.float32)
    cosine, sine = turn_weights_of_residues(turns)
    arrays = [t.contiguous().numpy() for t in (sums, norm, prior)]
    _turned_scores(*arrays, np.float32(1 / temperature), cosine.numpy(), sine.numpy(), scores, top)
    return torch.from_numpy(scores), torch.from_numpy(top)


def significant_scores(scores: Tensor, top: Tensor, cut: float = 9.0, room: int = 2048) -> Significant | None:
    """Entries within `cut` of each image's best score, or None where an image has more than `room` of them.

    Reference: nunatak.search.marginal_sums.dense_weights, which exponentiates every score.

    Parameters
    ----------
    scores : (b, s, C, d) float32
        Shift, turn, direction.
    top : (b,)
        The best score of each image.
    """
    images = len(scores)
    count = np.empty(images, np.int64)
    pose, shift = np.empty((2, images, room), np.int32)
    score = np.full((images, room), -np.inf, np.float32)
    highest = top.numpy()
    _collect(scores.numpy(), highest - np.float32(cut), count, pose, shift, score)
    return None if count.max() > room else weighed(pose, shift, score, count, highest)

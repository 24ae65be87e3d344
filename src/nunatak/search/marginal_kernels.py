"""Compiled CPU kernels for the two bandwidth-bound parts of nunatak.search.marginal_sums.

Posteriors are sharp: of some 10^5 scores per image a few dozen carry the mass. The matrix product that makes
the scores stays torch's; here the scores are read once or twice in the type they come in, only significant
ones are exponentiated, and only they are summed into the slices.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic
from torch import Tensor

_FAST: dict[str, Any] = {"fastmath": True, "cache": True, "error_model": "numpy"}


@intrinsic
def _float_of_bits(typing_context, bits):  # type: ignore[no-untyped-def]
    """float32 whose bits are a uint32: how bfloat16, the upper half of a float32, is read."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@njit(inline="always", **_FAST)
def _decode(bits):  # type: ignore[no-untyped-def]
    # numba hands in the typing context itself.
    return _float_of_bits(np.uint32(bits) << np.uint32(16))  # type: ignore[call-arg]


@njit(parallel=True, **_FAST)
def _top(scores, norm, prior, inverse_temperature, top):  # type: ignore[no-untyped-def]
    images, shifts, poses = scores.shape
    for i in prange(images):
        best = np.float32(-1e30)
        for s in range(shifts):
            high = np.float32(-1e30)
            for p in range(poses):
                high = max(high, _decode(scores[i, s, p]) - norm[i, p])
            best = max(best, high * inverse_temperature + prior[s])
        top[i] = best


@njit(parallel=True, **_FAST)
def _collect(scores, norm, prior, inverse_temperature, floor, count, entry_pose, entry_shift, entry_score):  # type: ignore[no-untyped-def]
    images, shifts, poses = scores.shape
    room = entry_pose.shape[1]
    for i in prange(images):
        found = 0
        for s in range(shifts):
            # Compared before scaling, so that the scan is one subtraction per score.
            limit = (floor[i] - prior[s]) / inverse_temperature
            for p in range(poses):
                value = _decode(scores[i, s, p]) - norm[i, p]
                if value > limit:
                    if found < room:
                        entry_pose[i, found] = p
                        entry_shift[i, found] = s
                        entry_score[i, found] = value * inverse_temperature + prior[s]
                    found += 1
        count[i] = found


@njit(parallel=True, **_FAST)
def _accumulate(starts, entries, weighted, squared_transfer, phases, turns, mates, numerator, denominator):  # type: ignore[no-untyped-def]
    samples = weighted.shape[1]
    image, turn, shift, weight = entries
    for d in prange(len(starts) - 1):
        for e in range(starts[d], starts[d + 1]):
            i, t, s, g = image[e], turn[e], shift[e], weight[e]
            for j in range(samples):
                value = weighted[i, j] * phases[s, j] * g
                if mates[t, j]:
                    value = np.conj(value)
                target = turns[t, j]
                numerator[d, target] += value
                denominator[d, target] += g * squared_transfer[i, j]


class Significant(NamedTuple):
    """The significant (image, shift, pose) triples of a batch, image by image, with posterior weights."""

    image: np.ndarray
    shift: np.ndarray
    pose: np.ndarray
    weight: np.ndarray
    log_evidence: np.ndarray


def weighed(
    pose: np.ndarray, shift: np.ndarray, score: np.ndarray, count: np.ndarray, top: np.ndarray
) -> Significant:
    """Entries with their posterior weights, from (b, room) arrays of which the first `count` are filled.

    Reference: nunatak.search.marginal_sums.dense_weights.
    """
    valid = np.arange(pose.shape[1])[None] < count[:, None]
    weight = np.exp(score - top[:, None])
    total = weight.sum(1)
    image = np.repeat(np.arange(len(pose), dtype=np.int32), count)
    return Significant(
        image, shift[valid], pose[valid], (weight / total[:, None])[valid], top + np.log(total)
    )


def significant(
    scores: Tensor, norm: Tensor, shift_prior: Tensor, temperature: float, cut: float = 9.0, room: int = 2048
) -> Significant | None:
    """Entries within `cut` of each image's best score, or None where an image has more than `room` of them.

    Reference: nunatak.search.marginal_sums.dense_sums, which exponentiates every score.

    Parameters
    ----------
    scores : (b, s, p) bfloat16
    norm : (b, p) float32
    shift_prior : (s,) float32
    """
    bits = scores.view(torch.int16).numpy().view(np.uint16)
    images = len(bits)
    inverse = np.float32(1 / temperature)
    norms, prior = norm.numpy(), shift_prior.numpy()
    top = np.empty(images, np.float32)
    _top(bits, norms, prior, inverse, top)
    count = np.empty(images, np.int64)
    pose, shift = np.empty((2, images, room), np.int32)
    score = np.full((images, room), -np.inf, np.float32)
    _collect(bits, norms, prior, inverse, top - np.float32(cut), count, pose, shift, score)
    return None if count.max() > room else weighed(pose, shift, score, count, top)


def accumulate(
    found: Significant,
    weighted: Tensor,
    squared_transfer: Tensor,
    phases: Tensor,
    turns: Tensor,
    mates: Tensor,
    directions: int,
) -> tuple[Tensor, Tensor]:
    """(d, n) complex numerator and (d, n) denominator: fold_turns and fold_weights of dense weights.

    Reference: nunatak.search.marginal_sums.dense_sums.

    Parameters
    ----------
    weighted : (b, n) complex64
        CTF-multiplied images.
    squared_transfer : (b, n) float32
    phases : (s, n) complex64
    turns, mates : (in_plane_count, n)
        Of the polar plane.
    """
    in_plane = len(turns)
    direction = found.pose // in_plane
    order = np.argsort(direction, kind="stable")
    starts = np.searchsorted(direction[order], np.arange(directions + 1))
    entries = (
        found.image[order],
        (found.pose % in_plane)[order],
        found.shift[order],
        found.weight[order].astype(np.float32),
    )
    samples = weighted.shape[1]
    numerator = np.zeros((directions, samples), np.complex64)
    denominator = np.zeros((directions, samples), np.float32)
    arrays = [t.contiguous().numpy() for t in (weighted, squared_transfer, phases, turns, mates)]
    _accumulate(starts, entries, *arrays, numerator, denominator)
    return torch.from_numpy(numerator), torch.from_numpy(denominator)

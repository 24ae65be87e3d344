"""Compiled CPU kernels for the two levels of nunatak.search.hierarchical.

A trial shift multiplies samples by exp(-i (kx tx + ky ty)): on a Cartesian grid that separates, and on a grid
of shifts that is symmetric about its centre cosines serve +t and -t alike. So all shifts of a slice together
cost less than the slice itself, and neither shifted images nor slices are ever written to memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from nunatak.search.marginal_kernels import _decode

_FAST: dict[str, Any] = {"fastmath": True, "cache": True, "error_model": "numpy"}
_ONE, _ZERO = np.float32(1), np.float32(0)


@njit(parallel=True, **_FAST)
def _best_shift(scores, best, shift):  # type: ignore[no-untyped-def]
    images, shifts, poses = scores.shape
    for i in prange(images):
        for p in range(poses):
            best[i, p] = _decode(scores[i, 0, p])
            shift[i, p] = 0
        for s in range(1, shifts):
            for p in range(poses):
                value = _decode(scores[i, s, p])
                better = value > best[i, p]
                best[i, p] = value if better else best[i, p]
                shift[i, p] = s if better else shift[i, p]


def best_shift(scores: Tensor) -> tuple[Tensor, Tensor]:
    """(b, p) float32 largest of (b, s, p) bfloat16 scores over the shifts s, and (b, p) its first place."""
    bits = scores.view(torch.int16).numpy().view(np.uint16)
    best = np.empty((bits.shape[0], bits.shape[2]), np.float32)
    shift = np.empty(best.shape, np.int32)
    _best_shift(bits, best, shift)
    return torch.from_numpy(best), torch.from_numpy(shift).long()


@njit(inline="always", **_FAST)
def _slice_row(block, strides, rotation, padding, kx, half_width, out):  # type: ignore[no-untyped-def]
    """Samples (kx, -half_width..half_width) of a slice; out[0] holds real parts, out[1] imaginary ones."""
    stride_y, stride_z, reach = strides
    px = padding * kx
    x0, y0, z0 = px * rotation[0, 0], px * rotation[0, 1], px * rotation[0, 2]
    dx, dy, dz = padding * rotation[1, 0], padding * rotation[1, 1], padding * rotation[1, 2]
    step_y, step_z = 2 * stride_y, 2 * stride_z
    for j in range(2 * half_width + 1):
        ky = np.float32(j - half_width)
        x, y, z = x0 + ky * dx, y0 + ky * dy, z0 + ky * dz
        sign = _ONE if x >= _ZERO else -_ONE
        x, y, z = x * sign, y * sign + reach, z * sign + reach
        ix, iy, iz = np.int32(x), np.int32(y), np.int32(z)
        fx, fy, fz = x - np.float32(ix), y - np.float32(iy), z - np.float32(iz)
        gx, gy, gz = _ONE - fx, _ONE - fy, _ONE - fz
        w00, w01, w10, w11 = gz * gy, gz * fy, fz * gy, fz * fy
        a = np.int64(iz * stride_z + iy * stride_y + ix) * 2
        b, c, d = a + step_y, a + step_z, a + step_z + step_y
        low = w00 * block[a] + w01 * block[b] + w10 * block[c] + w11 * block[d]
        high = w00 * block[a + 2] + w01 * block[b + 2] + w10 * block[c + 2] + w11 * block[d + 2]
        out[0, j] = gx * low + fx * high
        low = w00 * block[a + 1] + w01 * block[b + 1] + w10 * block[c + 1] + w11 * block[d + 1]
        high = w00 * block[a + 3] + w01 * block[b + 3] + w10 * block[c + 3] + w11 * block[d + 3]
        out[1, j] = (gx * low + fx * high) * sign


@njit(inline="always", **_FAST)
def _shift_row(row, image, half_width, cosine, sine, sums):  # type: ignore[no-untyped-def]
    """Sums over ky of image times conj(slice) at shifts +t (sums[0], sums[1]) and -t (sums[2], sums[3])."""
    count = cosine.shape[1]
    for s in range(count):
        value_re = image[0, half_width] * row[0, half_width] + image[1, half_width] * row[1, half_width]
        value_im = image[1, half_width] * row[0, half_width] - image[0, half_width] * row[1, half_width]
        sums[0, s], sums[1, s], sums[2, s], sums[3, s] = value_re, value_im, _ZERO, _ZERO
    for ky in range(1, half_width + 1):
        p, m = half_width + ky, half_width - ky
        plus_re = image[0, p] * row[0, p] + image[1, p] * row[1, p]
        plus_im = image[1, p] * row[0, p] - image[0, p] * row[1, p]
        minus_re = image[0, m] * row[0, m] + image[1, m] * row[1, m]
        minus_im = image[1, m] * row[0, m] - image[0, m] * row[1, m]
        even_re, even_im = plus_re + minus_re, plus_im + minus_im
        odd_re, odd_im = plus_re - minus_re, plus_im - minus_im
        for s in range(count):
            sums[0, s] += even_re * cosine[ky, s]
            sums[1, s] += even_im * cosine[ky, s]
            sums[2, s] += odd_im * sine[ky, s]
            sums[3, s] -= odd_re * sine[ky, s]
    for s in range(count):
        even_re, even_im, odd_re, odd_im = sums[0, s], sums[1, s], sums[2, s], sums[3, s]
        sums[0, s], sums[1, s] = even_re + odd_re, even_im + odd_im
        sums[2, s], sums[3, s] = even_re - odd_re, even_im - odd_im


@njit(inline="always", **_FAST)
def _centre(samples, reach, centre, half_widths, out):  # type: ignore[no-untyped-def]
    """Rows of an image times exp(-i (kx tx + ky ty)), cut to the half widths, re and im apart."""
    for kx in range(len(half_widths)):
        width = half_widths[kx]
        for j in range(2 * width + 1):
            angle = centre[0] * np.float32(kx) + centre[1] * np.float32(j - width)
            cosine, sine = np.cos(angle), np.sin(angle)
            value = samples[kx, reach - width + j]
            out[kx, 0, j] = value.real * cosine + value.imag * sine
            out[kx, 1, j] = value.imag * cosine - value.real * sine


@njit(inline="always", **_FAST)
def _best_of_table(even, odd, count):  # type: ignore[no-untyped-def]
    """Largest of even + odd and even - odd, with the signs and places of its shift in y and x."""
    best, place_y, place_x = np.float32(-np.inf), 0, 0
    for sy in range(2 * count):
        for sx in range(count):
            high = even[sy, sx] + abs(odd[sy, sx])
            if high > best:
                best, place_y, place_x = high, sy, sx
    return best, place_y, place_x


@njit(parallel=True, **_FAST)
def _score_children(block, strides, padding, poses, images, half_widths, tables, found):  # type: ignore[no-untyped-def]
    rotations, centres = poses
    weighted, power = images
    cosine, sine, offsets = tables
    scores, shifts = found
    kept, children = rotations.shape[1], rotations.shape[2]
    radius, reach, count = len(half_widths) - 1, weighted.shape[1] - 1, len(offsets)
    width = 2 * radius + 1
    for i in prange(len(rotations)):
        row, sums = np.empty((2, width), np.float32), np.empty((4, count), np.float32)
        even, odd = np.empty((2 * count, count), np.float32), np.empty((2 * count, count), np.float32)
        centred = np.empty((radius + 1, 2, width), np.float32)
        for k in range(kept):
            _centre(weighted[i], reach, centres[i, k], half_widths, centred)
            for c in range(children):
                even[:], odd[:] = _ZERO, _ZERO
                norm = _ZERO
                for kx in range(radius + 1):
                    half_width = half_widths[kx]
                    _slice_row(block, strides, rotations[i, k, c], padding, np.float32(kx), half_width, row)
                    for j in range(2 * half_width + 1):
                        squared = row[0, j] * row[0, j] + row[1, j] * row[1, j]
                        norm += power[i, kx, reach - half_width + j] * squared
                    _shift_row(row, centred[kx], half_width, cosine, sine, sums)
                    for side in range(2):
                        for sy in range(count):
                            re, im = sums[2 * side, sy], sums[2 * side + 1, sy]
                            for sx in range(count):
                                even[side * count + sy, sx] += re * cosine[kx, sx]
                                odd[side * count + sy, sx] += im * sine[kx, sx]
                best, sy, sx = _best_of_table(even, odd, count)
                scores[i, k, c] = best - np.float32(0.5) * norm
                x = offsets[sx] if odd[sy, sx] >= _ZERO else -offsets[sx]
                y = offsets[sy] if sy < count else -offsets[sy - count]
                shifts[i, k, c, 0] = centres[i, k, 0] + x
                shifts[i, k, c, 1] = centres[i, k, 1] + y


def score_children(
    block: Tensor,
    padding: int,
    rotations: Tensor,
    centres: Tensor,
    images: tuple[Tensor, Tensor],
    radius_px: int,
    offsets: Tensor,
) -> tuple[Tensor, Tensor]:
    """See nunatak.search.hierarchical.reference_score_children."""
    radius = torch.arange(radius_px + 1)
    half_widths = (radius_px**2 - radius**2).double().sqrt().add(1e-9).floor().long().numpy()
    positive = offsets[offsets >= 0].double()
    # Whole vector registers: the last shift is repeated, which changes no maximum.
    wide = torch.cat([positive, positive[-1:].expand(-len(positive) % 8)])
    angles = radius.double()[:, None] * wide
    shape = rotations.shape[:3]
    scores, shifts = np.empty(tuple(shape), np.float32), np.empty((*shape, 2), np.float32)
    strides = (
        np.int32(block.shape[2]),
        np.int32(block.shape[1] * block.shape[2]),
        np.float32(block.shape[2] - 1),
    )
    _score_children(
        torch.view_as_real(block[..., 0].contiguous()).numpy().reshape(-1),
        strides,
        np.float32(padding),
        (rotations.contiguous().numpy(), centres.contiguous().numpy()),
        (images[0].numpy(), images[1].numpy()),
        half_widths,
        (torch.cos(angles).float().numpy(), torch.sin(angles).float().numpy(), wide.float().numpy()),
        (scores, shifts),
    )
    return torch.from_numpy(scores), torch.from_numpy(shifts)

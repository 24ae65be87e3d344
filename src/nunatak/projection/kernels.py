"""Compiled CPU kernels for what nunatak.projection.slices defines; same names, same results, much faster.

Blocks are walked as flat float32 arrays, channels innermost, so that one set of indices and weights serves
all channels and the compiler can use vector registers. Unsigned indices keep numba from testing for negative
ones. Insertion gives every thread but the first a block of its own: CPUs have no atomic addition of floats.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from nunatak.projection.insertion import insertion_threads

_FAST: dict[str, Any] = {"fastmath": True, "cache": True, "error_model": "numpy"}
_u8 = np.uint64


@njit(inline="always", **_FAST)
def locate(kx, ky, r, reach, stride_y, stride_z, floats):  # type: ignore[no-untyped-def]
    """Flat index of the lower corner, the three fractions, and -1 where the Friedel mate is meant."""
    x = kx * r[0, 0] + ky * r[1, 0]
    y = kx * r[0, 1] + ky * r[1, 1]
    z = kx * r[0, 2] + ky * r[1, 2]
    sign = np.float32(1.0)
    if x < 0:
        x, y, z, sign = -x, -y, -z, np.float32(-1.0)
    y += reach
    z += reach
    ix, iy, iz = np.int32(x), np.int32(y), np.int32(z)
    index = _u8((iz * stride_z + iy * stride_y + ix) * floats)
    return index, x - ix, y - iy, z - iz, sign


@njit(parallel=True, **_FAST)
def _slice(block, shape, rotations, frequencies, floats, odd_sign, out):  # type: ignore[no-untyped-def]
    reach, stride_y, stride_z = shape[2] - 1, shape[2], shape[1] * shape[2]
    step_y, step_z, step_x = _u8(stride_y * floats), _u8(stride_z * floats), _u8(floats)
    step_yz = step_y + step_z
    for p in prange(len(rotations)):
        r = rotations[p]
        for n in range(len(frequencies)):
            q, fx, fy, fz, sign = locate(
                frequencies[n, 0], frequencies[n, 1], r, reach, stride_y, stride_z, floats
            )
            w00, w01, w10, w11 = (1 - fz) * (1 - fy), (1 - fz) * fy, fz * (1 - fy), fz * fy
            o = _u8(n * floats)
            for j in range(_u8(floats)):
                a = q + j
                low = (
                    w00 * block[a]
                    + w01 * block[a + step_y]
                    + w10 * block[a + step_z]
                    + w11 * block[a + step_yz]
                )
                b = a + step_x
                high = (
                    w00 * block[b]
                    + w01 * block[b + step_y]
                    + w10 * block[b + step_z]
                    + w11 * block[b + step_yz]
                )
                value = low + fx * (high - low)
                out[p, o + j] = value * sign if (j & _u8(1)) == _u8(odd_sign) else value


@njit(parallel=True, **_FAST)
def _insert(values, shape, rotations, frequencies, floats, odd_sign, out):  # type: ignore[no-untyped-def]
    reach, stride_y, stride_z = shape[2] - 1, shape[2], shape[1] * shape[2]
    step_y, step_z, step_x = _u8(stride_y * floats), _u8(stride_z * floats), _u8(floats)
    step_yz = step_y + step_z
    threads = out.shape[0]
    for t in prange(threads):
        for p in range(t, len(rotations), threads):
            r = rotations[p]
            for n in range(len(frequencies)):
                q, fx, fy, fz, sign = locate(
                    frequencies[n, 0], frequencies[n, 1], r, reach, stride_y, stride_z, floats
                )
                w00, w01, w10, w11 = (1 - fz) * (1 - fy), (1 - fz) * fy, fz * (1 - fy), fz * fy
                o = _u8(n * floats)
                for j in range(_u8(floats)):
                    value = values[p, o + j]
                    if (j & _u8(1)) == _u8(odd_sign):
                        value *= sign
                    a = q + j
                    b = a + step_x
                    low, high = (1 - fx) * value, fx * value
                    out[t, a] += w00 * low
                    out[t, a + step_y] += w01 * low
                    out[t, a + step_z] += w10 * low
                    out[t, a + step_yz] += w11 * low
                    out[t, b] += w00 * high
                    out[t, b + step_y] += w01 * high
                    out[t, b + step_z] += w10 * high
                    out[t, b + step_yz] += w11 * high


@njit(parallel=True, **_FAST)
def _moments(  # type: ignore[no-untyped-def]
    values, powers, first, second, shape, rotations, frequencies,
    numerator, denominator, more_numerators, more_denominators,
):  # fmt: skip
    reach, stride_y, stride_z = shape[2] - 1, shape[2], shape[1] * shape[2]
    threads, channels, products = 1 + len(more_numerators), first.shape[1], second.shape[1]
    corners = np.empty(8, np.uint64)
    for dz in range(2):
        for dy in range(2):
            for dx in range(2):
                corners[4 * dz + 2 * dy + dx] = _u8(dz * stride_z + dy * stride_y + dx)
    for t in prange(threads):
        top = numerator if t == 0 else more_numerators[t - 1]
        bottom = denominator if t == 0 else more_denominators[t - 1]
        weight = np.empty(8, np.float32)
        for p in range(t, len(rotations), threads):
            for n in range(len(frequencies)):
                q, fx, fy, fz, sign = locate(
                    frequencies[n, 0], frequencies[n, 1], rotations[p], reach, stride_y, stride_z, 1
                )
                for corner in range(8):
                    a = fz if corner & 4 else 1 - fz
                    b = fy if corner & 2 else 1 - fy
                    weight[corner] = a * b * (fx if corner & 1 else 1 - fx)
                real, imaginary = values[p, n].real, values[p, n].imag * sign
                for corner in range(8):
                    w = weight[corner]
                    voxel = q + corners[corner]
                    o = voxel * _u8(2 * channels)
                    for c in range(channels):
                        top[o + _u8(2 * c)] += w * real * first[p, c]
                        top[o + _u8(2 * c + 1)] += w * imaginary * first[p, c]
                    o = voxel * _u8(products)
                    w *= powers[p, n]
                    for c in range(products):
                        bottom[o + _u8(c)] += w * second[p, c]


def _floats(tensor: Tensor) -> np.ndarray:
    """The same numbers as contiguous float32, real and imaginary parts interleaved in the last axis."""
    tensor = tensor.detach().contiguous()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.to(torch.complex64)).flatten(-2)
    return tensor.float().contiguous().numpy()


# Which of the interleaved floats change sign under the Friedel flip: the odd ones of complex samples, and
# none of real ones.
_COMPLEX_ODD, _NONE_ODD = 1, 2


def slice_block(block: Tensor, rotations: Tensor, frequencies: Tensor, padding: int) -> Tensor:
    """See nunatak.projection.slices.slice_block."""
    channels = block.shape[-1]
    out = torch.empty(len(rotations), len(frequencies), channels, dtype=torch.complex64)
    flat = torch.view_as_real(out).numpy().reshape(len(rotations), len(frequencies) * 2 * channels)
    scaled = frequencies.float() * padding
    _slice(
        _floats(block).reshape(-1),
        tuple(block.shape[:3]),
        _floats(rotations),
        _floats(scaled),
        2 * channels,
        _COMPLEX_ODD,
        flat,
    )
    return out


def insert_block(
    values: Tensor, rotations: Tensor, frequencies: Tensor, padding: int, shape: tuple[int, int, int]
) -> Tensor:
    """See nunatak.projection.slices.insert_block."""
    floats = values.shape[-1] * (2 if values.is_complex() else 1)
    size = shape[0] * shape[1] * shape[2] * floats
    threads = insertion_threads(size, len(rotations))
    out = np.zeros((threads, size), np.float32)
    scaled = frequencies.float() * padding
    odd = _COMPLEX_ODD if values.is_complex() else _NONE_ODD
    _insert(
        _floats(values).reshape(len(rotations), len(frequencies) * floats),
        tuple(shape),
        _floats(rotations),
        _floats(scaled),
        floats,
        odd,
        out,
    )
    total = torch.from_numpy(out.sum(0) if threads > 1 else out[0]).reshape(*shape, floats)
    return torch.view_as_complex(total.reshape(*shape, -1, 2)) if values.is_complex() else total


def insert_moments(
    weighted: tuple[Tensor, Tensor],
    moments: tuple[Tensor, Tensor],
    rotations: Tensor,
    frequencies: Tensor,
    padding: int,
    sums: tuple[Tensor, Tensor],
) -> None:
    """See nunatak.projection.slices.insert_moments."""
    numerator, denominator = (_own_floats(block) for block in sums)
    more = insertion_threads(len(numerator) + len(denominator), len(rotations)) - 1
    more_numerators = np.zeros((more, len(numerator)), np.float32)
    more_denominators = np.zeros((more, len(denominator)), np.float32)
    scaled = frequencies.float() * padding
    _moments(
        weighted[0].contiguous().numpy(),
        *(_floats(t) for t in (weighted[1], *moments)),
        tuple(sums[0].shape[:3]),
        _floats(rotations),
        _floats(scaled),
        numerator,
        denominator,
        more_numerators,
        more_denominators,
    )
    for one, other in zip(more_numerators, more_denominators, strict=True):
        numerator += one
        denominator += other


def _own_floats(block: Tensor) -> np.ndarray:
    """The memory of a contiguous block as flat float32, to be written to."""
    real = torch.view_as_real(block) if block.is_complex() else block
    flat: np.ndarray = real.view(-1).numpy()
    return flat

"""Compiled CPU kernel for nunatak.volumes.wiener: a Cholesky solution per Fourier voxel."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor


@njit(parallel=True, fastmath=True, cache=True, error_model="numpy")
def _solve(numerator, denominator, ridge, shells, out):  # type: ignore[no-untyped-def]
    voxels, channels = numerator.shape
    lines = 64
    for chunk in prange((voxels + lines - 1) // lines):
        factor = np.zeros((channels, channels), np.float32)
        for v in range(chunk * lines, min(voxels, (chunk + 1) * lines)):
            position = 0
            for i in range(channels):
                for j in range(i, channels):
                    factor[j, i] = denominator[v, position]
                    position += 1
                factor[i, i] += ridge[shells[v], i] + np.float32(1e-12)
            for i in range(channels):
                for j in range(i + 1):
                    value = factor[i, j]
                    for k in range(j):
                        value -= factor[i, k] * factor[j, k]
                    if i == j:
                        factor[i, i] = np.sqrt(max(value, np.float32(1e-20)))
                    else:
                        factor[i, j] = value / factor[j, j]
            for i in range(channels):
                value = numerator[v, i]
                for k in range(i):
                    value -= factor[i, k] * out[v, k]
                out[v, i] = value / factor[i, i]
            for i in range(channels - 1, -1, -1):
                value = out[v, i]
                for k in range(i + 1, channels):
                    value -= factor[k, i] * out[v, k]
                out[v, i] = value / factor[i, i]


def solve_packed(numerator: Tensor, denominator: Tensor, ridge: Tensor, shells: Tensor) -> Tensor:
    """Solutions of (unpacked denominator + diag(ridge[shell])) v = numerator, voxel by voxel.

    Parameters
    ----------
    numerator : (..., c) complex64
    denominator : (..., c (c + 1) / 2) float32
    ridge : (shells, c) float32
    shells : (...) int64

    Returns
    -------
    (..., c) complex64
    """
    channels = numerator.shape[-1]
    out = np.empty((shells.numel(), channels), np.complex64)
    _solve(
        numerator.contiguous().numpy().reshape(-1, channels),
        denominator.contiguous().numpy().reshape(-1, denominator.shape[-1]),
        ridge.float().contiguous().numpy(),
        shells.contiguous().numpy().reshape(-1),
        out,
    )
    return torch.from_numpy(out).view(numerator.shape)

"""Compiled CPU kernel for nunatak.volumes.alignment: one map, turned in many ways."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor


@njit(inline="always")
def _at(volume, z, y, x):  # type: ignore[no-untyped-def]
    box = volume.shape[0]
    inside = 0 <= z < box and 0 <= y < box and 0 <= x < box
    return volume[z, y, x] if inside else np.float32(0.0)


@njit(inline="always")
def _value(volume, z, y, x):  # type: ignore[no-untyped-def]
    """Of the map between voxels; what lies outside the box is zero."""
    k, j, i = int(np.floor(z)), int(np.floor(y)), int(np.floor(x))
    w, v, u = np.float32(z - k), np.float32(y - j), np.float32(x - i)
    # Whole numbers would make doubles of these.
    u_rest, v_rest, w_rest = np.float32(1) - u, np.float32(1) - v, np.float32(1) - w
    near = v_rest * (u_rest * _at(volume, k, j, i) + u * _at(volume, k, j, i + 1))
    near += v * (u_rest * _at(volume, k, j + 1, i) + u * _at(volume, k, j + 1, i + 1))
    far = v_rest * (u_rest * _at(volume, k + 1, j, i) + u * _at(volume, k + 1, j, i + 1))
    far += v * (u_rest * _at(volume, k + 1, j + 1, i) + u * _at(volume, k + 1, j + 1, i + 1))
    return w_rest * near + w * far


@njit(parallel=True, fastmath=True, cache=True, error_model="numpy")
def _turn(volume, rotations, out):  # type: ignore[no-untyped-def]
    count, box = out.shape[:2]
    middle = np.float32(box // 2)
    for plane in prange(count * box):
        k, i = plane // box, plane % box
        q = rotations[k]
        for j in range(box):
            z, y = np.float32(i) - middle, np.float32(j) - middle
            # At the left end of the line; from voxel to voxel it moves by the first column.
            sx = q[0, 1] * y + q[0, 2] * z - q[0, 0] * middle + middle
            sy = q[1, 1] * y + q[1, 2] * z - q[1, 0] * middle + middle
            sz = q[2, 1] * y + q[2, 2] * z - q[2, 0] * middle + middle
            for m in range(box):
                step = np.float32(m)
                out[k, i, j, m] = _value(
                    volume, sz + step * q[2, 0], sy + step * q[1, 0], sx + step * q[0, 0]
                )


def turned_maps(volume: Tensor, rotations: Tensor) -> Tensor:
    """See nunatak.volumes.alignment.reference_turned_maps."""
    out = np.empty((len(rotations), *volume.shape), np.float32)
    _turn(volume.contiguous().numpy(), rotations.float().contiguous().numpy(), out)
    return torch.from_numpy(out)

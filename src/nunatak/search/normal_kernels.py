"""Compiled CPU kernel for nunatak.search.normal_equations: normal equations of one image at one pose.

One pass over the samples interpolates all channels and the gradient of their sum, and accumulates
J^T J, J^T r and the residual power; nothing per sample is stored.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from nunatak.search.candidates import Candidates, ImageSamples, NormalEquations

_u8 = np.uint64


@njit(parallel=True, fastmath=True, cache=True, error_model="numpy")
def _normal_equations(  # type: ignore[no-untyped-def]
    block, shape, padding, rotations, shifts, scales, latents, rows,
    samples, transfer, weights, frequencies, turn, shells, hessian, gradient, power,
):  # fmt: skip
    candidates, channels = len(rotations), latents.shape[1] + 1
    size = 6 + channels - 1
    count = len(frequencies)
    reach, sy, sz = shape[2] - 1, shape[2], shape[1] * shape[2]
    floats = 2 * channels
    step_y, step_z, step_x = _u8(sy * floats), _u8(sz * floats), _u8(floats)
    for e in prange(candidates):
        r = rotations[e]
        i = rows[e]
        tx, ty, scale = shifts[e, 0], shifts[e, 1], scales[e]
        value_re = np.zeros(channels, np.float32)
        value_im = np.zeros(channels, np.float32)
        column_re = np.zeros(size, np.float32)
        column_im = np.zeros(size, np.float32)
        matrix = np.zeros((size, size), np.float32)
        vector = np.zeros(size, np.float32)
        mixing = np.ones(channels, np.float32)
        for c in range(1, channels):
            mixing[c] = latents[e, c - 1]
        for n in range(count):
            kx, ky = frequencies[n, 0], frequencies[n, 1]
            px, py = kx * padding, ky * padding
            x = px * r[0, 0] + py * r[1, 0]
            y = px * r[0, 1] + py * r[1, 1]
            z = px * r[0, 2] + py * r[1, 2]
            sign = np.float32(1.0)
            if x < 0:
                x, y, z, sign = -x, -y, -z, np.float32(-1.0)
            y += reach
            z += reach
            ix, iy, iz = np.int32(x), np.int32(y), np.int32(z)
            fx, fy, fz = x - ix, y - iy, z - iz
            gx, gy, gz = 1 - fx, 1 - fy, 1 - fz
            corner = _u8((iz * sz + iy * sy + ix) * floats)
            sum_re = sum_im = dx_re = dx_im = dy_re = dy_im = dz_re = dz_im = np.float32(0)
            for c in range(channels):
                for part in range(2):
                    q = corner + _u8(2 * c + part)
                    a000, a001 = block[q], block[q + step_x]
                    a010, a011 = block[q + step_y], block[q + step_y + step_x]
                    a100, a101 = block[q + step_z], block[q + step_z + step_x]
                    a110, a111 = block[q + step_z + step_y], block[q + step_z + step_y + step_x]
                    b00, b01 = gx * a000 + fx * a001, gx * a010 + fx * a011
                    b10, b11 = gx * a100 + fx * a101, gx * a110 + fx * a111
                    v = gz * (gy * b00 + fy * b01) + fz * (gy * b10 + fy * b11)
                    m = mixing[c]
                    along_z = m * (gy * (b10 - b00) + fy * (b11 - b01))
                    along_y = m * (gz * (b01 - b00) + fz * (b11 - b10))
                    along_x = m * (
                        gz * (gy * (a001 - a000) + fy * (a011 - a010))
                        + fz * (gy * (a101 - a100) + fy * (a111 - a110))
                    )
                    if part == 0:
                        value_re[c] = v
                        sum_re += m * v
                        dx_re += along_x
                        dy_re += along_y
                        dz_re += along_z
                    else:
                        value_im[c] = v * sign
                        sum_im += m * v * sign
                        dx_im += along_x
                        dy_im += along_y
                        dz_im += along_z
            # conj(F(-q)), the mate, has gradient -conj(grad F): the sign folds into re and im below.
            dx_re, dy_re, dz_re = dx_re * sign * padding, dy_re * sign * padding, dz_re * sign * padding
            dx_im, dy_im, dz_im = dx_im * padding, dy_im * padding, dz_im * padding
            normal_re = dx_re * r[2, 0] + dy_re * r[2, 1] + dz_re * r[2, 2]
            normal_im = dx_im * r[2, 0] + dy_im * r[2, 1] + dz_im * r[2, 2]
            plane_x_re = dx_re * r[0, 0] + dy_re * r[0, 1] + dz_re * r[0, 2]
            plane_x_im = dx_im * r[0, 0] + dy_im * r[0, 1] + dz_im * r[0, 2]
            plane_y_re = dx_re * r[1, 0] + dy_re * r[1, 1] + dz_re * r[1, 2]
            plane_y_im = dx_im * r[1, 0] + dy_im * r[1, 1] + dz_im * r[1, 2]
            ctf = transfer[i, n]
            a = scale * ctf
            column_re[0], column_im[0] = -ky * normal_re * a, -ky * normal_im * a
            column_re[1], column_im[1] = kx * normal_re * a, kx * normal_im * a
            column_re[2], column_im[2] = (
                (ky * plane_x_re - kx * plane_y_re) * a,
                (ky * plane_x_im - kx * plane_y_im) * a,
            )
            column_re[3], column_im[3] = -kx * turn * sum_im * a, kx * turn * sum_re * a
            column_re[4], column_im[4] = -ky * turn * sum_im * a, ky * turn * sum_re * a
            column_re[5], column_im[5] = sum_re * ctf, sum_im * ctf
            for c in range(1, channels):
                column_re[5 + c], column_im[5 + c] = value_re[c] * a, value_im[c] * a
            phase = turn * (kx * tx + ky * ty)
            cosine, sine = np.cos(phase), np.sin(phase)
            data_re, data_im = samples[i, n].real, samples[i, n].imag
            rest_re = data_re * cosine + data_im * sine - a * sum_re
            rest_im = data_im * cosine - data_re * sine - a * sum_im
            w = weights[n]
            power[e, shells[n]] += rest_re * rest_re + rest_im * rest_im
            for j in range(size):
                wr, wi = w * column_re[j], w * column_im[j]
                vector[j] += wr * rest_re + wi * rest_im
                for k in range(j + 1):
                    matrix[j, k] += wr * column_re[k] + wi * column_im[k]
        for j in range(size):
            gradient[e, j] = vector[j]
            for k in range(j + 1):
                hessian[e, j, k] = matrix[j, k]
                hessian[e, k, j] = matrix[j, k]


def normal_equations(
    block: Tensor, padding: int, candidates: Candidates, images: ImageSamples, noise_weights: Tensor
) -> NormalEquations:
    """See nunatak.search.normal_equations.normal_equations."""
    plane = images.plane
    count, size = len(candidates), 6 + candidates.latents.shape[1]
    hessian = np.empty((count, size, size), np.float32)
    gradient = np.empty((count, size), np.float32)
    power = np.zeros((count, plane.radius_px + 1), np.float32)
    rotations, shifts, scales, latents = (
        t.float().contiguous().numpy()
        for t in (candidates.rotations, candidates.shifts_px, candidates.scales, candidates.latents)
    )
    _normal_equations(
        torch.view_as_real(block.contiguous()).numpy().reshape(-1),
        tuple(block.shape[:3]),
        np.float32(padding),
        rotations,
        shifts,
        scales,
        latents,
        candidates.rows.contiguous().numpy(),
        images.samples.numpy(),
        images.transfer.numpy(),
        noise_weights[plane.shells].float().numpy(),
        plane.frequencies.float().contiguous().numpy(),
        np.float32(2 * np.pi / plane.box_px),
        plane.shells.numpy(),
        hessian,
        gradient,
        power,
    )
    return NormalEquations(torch.from_numpy(hessian), torch.from_numpy(gradient), torch.from_numpy(power))

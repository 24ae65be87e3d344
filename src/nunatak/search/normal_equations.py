"""Normal equations of an image's pose, scale and latent, by central slices and their gradients.

Model (theory eq. 2): m(k) = a c(k) [S_0(k) + sum_j z_j S_j(k)] in the frame where the image is centred. A
small rotation R -> exp(w) R moves the sample at k = (kx, ky, 0) by R^T (k x w), so that

    dm/dw = a c (-ky g.R_2,  kx g.R_2,  ky g.R_0 - kx g.R_1),   g the gradient of the interpolated transform,
    dm/dt = 2 pi i k m / box,    dm/da = m / a,    dm/dz_j = a c S_j.

This module is the reference in plain torch, and what runs on a GPU; nunatak.search.normal_kernels is the
CPU's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nunatak.core import device as devices
from nunatak.projection.slices import slice_with_gradient
from nunatak.search import normal_kernels
from nunatak.search.candidates import Candidates, ImageSamples, NormalEquations


def _columns(
    block: Tensor, padding: int, candidates: Candidates, images: ImageSamples
) -> tuple[Tensor, Tensor]:
    """(e, m, 6 + q) complex Jacobian and (e, m) residual in the centred frame."""
    plane = images.plane
    ones = torch.ones_like(candidates.scales)[:, None]
    mixing = torch.cat([ones, candidates.latents], 1).to(candidates.latents.dtype)
    values, slope = slice_with_gradient(block, candidates.rotations, plane.frequencies, padding, mixing)
    kx, ky = plane.frequencies.float().T
    mixed = (values * mixing[:, None]).sum(-1)
    ctf = images.transfer[candidates.rows]
    scaled = ctf * candidates.scales[:, None]
    rows = torch.einsum("end,ecd->enc", slope, candidates.rotations.to(slope.dtype))
    turn = 2 * math.pi / plane.box_px
    columns = [
        -ky * rows[..., 2] * scaled,
        kx * rows[..., 2] * scaled,
        (ky * rows[..., 0] - kx * rows[..., 1]) * scaled,
        1j * turn * kx * mixed * scaled,
        1j * turn * ky * mixed * scaled,
        mixed * ctf,
    ]
    jacobian = torch.cat([torch.stack(columns, -1), values[..., 1:] * scaled[..., None]], -1)
    angle = -turn * (candidates.shifts_px @ plane.frequencies.to(candidates.shifts_px.dtype).T)
    centred = images.samples[candidates.rows] * torch.polar(torch.ones_like(angle), angle)
    return jacobian, centred - mixed * scaled


def reference_normal_equations(
    block: Tensor, padding: int, candidates: Candidates, images: ImageSamples, noise_weights: Tensor
) -> NormalEquations:
    """See normal_equations; any device, memory in proportion to candidates times samples."""
    jacobian, residual = _columns(block, padding, candidates, images)
    plane = images.plane
    weights = noise_weights[plane.shells]
    weighted = jacobian * weights[:, None]
    hessian = torch.einsum("enj,enk->ejk", weighted.conj(), jacobian).real
    gradient = torch.einsum("enj,en->ej", weighted.conj(), residual).real
    power = residual.real.new_zeros(len(candidates), plane.radius_px + 1)
    power.index_add_(1, plane.shells, residual.abs() ** 2)
    return NormalEquations(hessian, gradient, power)


def normal_equations(
    block: Tensor, padding: int, candidates: Candidates, images: ImageSamples, noise_weights: Tensor
) -> NormalEquations:
    """Hessian, gradient and residual power of candidates.

    Parameters
    ----------
    block : (m, m, h, 1 + q) complex64
        Mean map and components, for the plane's radius or a larger one.
    noise_weights : (shells,) float32
        2 / sigma^2 of each shell: a half-plane sample counts for itself and its mate.
    """
    if devices.is_compiled(block):
        return normal_kernels.normal_equations(block, padding, candidates, images, noise_weights)
    # Per sample: eight corners and their products in every channel; slopes; the Jacobian, twice.
    latent_dim = candidates.latents.shape[1]
    row_bytes = 8 * len(images.plane) * (17 * (1 + latent_dim) + 2 * (6 + latent_dim) + 60)
    at_once = devices.rows_that_fit(row_bytes, block.device)
    parts = [
        reference_normal_equations(
            block, padding, candidates[slice(start, start + at_once)], images, noise_weights
        )
        for start in range(0, len(candidates), at_once)
    ]
    return NormalEquations(
        torch.cat([part.hessian for part in parts]),
        torch.cat([part.gradient for part in parts]),
        torch.cat([part.power for part in parts]),
    )

"""Discrete Fourier transforms of centred images and maps, and the half-plane of samples that images live on.

Conventions 4 and 5: the origin is pixel box // 2, transforms are divided by the image box (so that white
pixel noise of variance 1 gives complex samples of variance 1), frequencies are integers in units of
1 / (box * pixel size).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class HalfPlane:
    """The independent Fourier samples of a real image inside a radius, ring by ring.

    The zero frequency and the Friedel mates are left out, so that samples of white noise are independent.
    Because of the order, the samples inside a smaller integer radius are a prefix.

    Attributes
    ----------
    frequencies : (n, 2) int64
        (kx, ky) in Fourier pixels; kx > 0, or kx = 0 and ky > 0.
    shells : (n,) int64
        Rounded radius of each sample.
    box_px : int
        Box of the image grid that the integers refer to.
    radius_px : int
        Samples obey |k| <= radius.
    """

    frequencies: Tensor
    shells: Tensor
    box_px: int
    radius_px: int

    def __len__(self) -> int:
        return len(self.frequencies)

    def count_within(self, radius_px: int) -> int:
        """Number of samples with |k| <= radius, an integer: they are the first ones."""
        squared = (self.frequencies**2).sum(1)
        return int((squared <= radius_px**2).sum())


@lru_cache(maxsize=32)
def half_plane(box_px: int, radius_px: int) -> HalfPlane:
    """All independent samples with 0 < |k| <= radius on a grid of the given box; see HalfPlane."""
    limit = min(radius_px, (box_px - 1) // 2)
    k = torch.arange(-limit, limit + 1)
    ky, kx = torch.meshgrid(k, k, indexing="ij")
    kx, ky = kx.reshape(-1), ky.reshape(-1)
    squared = kx**2 + ky**2
    keep = (squared <= limit**2) & ((kx > 0) | ((kx == 0) & (ky > 0)))
    kx, ky, squared = kx[keep], ky[keep], squared[keep]
    # Rings by rounded-up radius, by angle within a ring: integer radii are prefixes, and
    # neighbours lie side by side.
    ring = squared.double().sqrt().sub(1e-9).ceil()
    angle = torch.atan2(ky.double(), kx.double())
    order = torch.argsort(ring * 8 + angle, stable=True)
    frequencies = torch.stack([kx, ky], 1)[order]
    shells = squared[order].double().sqrt().round().long()
    return HalfPlane(frequencies, shells, box_px, limit)


def fourier_map(volume: Tensor) -> Tensor:
    """Centred transform of (..., d, d, d) maps, zyx, zero frequency at d // 2, divided by the box d."""
    axes = (-3, -2, -1)
    shifted = torch.fft.ifftshift(volume, dim=axes)
    return torch.fft.fftshift(torch.fft.fftn(shifted, dim=axes), dim=axes) / volume.shape[-1]


def real_map(transform: Tensor) -> Tensor:
    """Inverse of fourier_map for transforms of real maps."""
    axes = (-3, -2, -1)
    shifted = torch.fft.ifftshift(transform * transform.shape[-1], dim=axes)
    return torch.fft.fftshift(torch.fft.ifftn(shifted, dim=axes).real, dim=axes)


def sample_images(
    images: Tensor, plane: HalfPlane, scale: float = 1.0, box_divisor: float | None = None
) -> Tensor:
    """Fourier samples of centred real images at the frequencies of a half-plane.

    The transform is evaluated as two matrix products, so the images may lie on another pixel grid than the
    half-plane: that is how stacks of mixed boxes and pixel sizes come onto one grid, exactly.

    Parameters
    ----------
    images : (n, h, w) float
    plane : HalfPlane
    scale : float
        Pixel size of the images over that of the half-plane's grid.
    box_divisor : float
        Divisor of the transform; the images' own box by default.

    Returns
    -------
    (n, len(plane)) complex64
    """
    n, height, width = images.shape
    exact: dict[str, Any] = {"dtype": torch.float64, "device": images.device}
    limit = plane.radius_px
    divisor = float(width) if box_divisor is None else box_divisor
    kx = torch.arange(0, limit + 1, **exact)
    ky = torch.arange(-limit, limit + 1, **exact)
    x = (torch.arange(width, **exact) - width // 2) * scale / plane.box_px
    y = (torch.arange(height, **exact) - height // 2) * scale / plane.box_px
    one = torch.ones(1, **exact)
    phase_x = torch.polar(one, -2 * torch.pi * x[:, None] * kx).to(torch.complex64)
    phase_y = torch.polar(one, -2 * torch.pi * ky[:, None] * y).to(torch.complex64)
    half = torch.matmul(images.to(torch.complex64), phase_x)
    grid = torch.matmul(phase_y, half) / divisor
    fx, fy = plane.frequencies[:, 0], plane.frequencies[:, 1] + limit
    return grid.reshape(n, -1)[:, fy * (limit + 1) + fx]


def images_from_samples(samples: Tensor, plane: HalfPlane) -> Tensor:
    """(n, box, box) real centred images from half-plane samples; the inverse of sample_images, zero mean."""
    n, box = samples.shape[0], plane.box_px
    grid = samples.new_zeros(n, box, box // 2 + 1)
    fx, fy = plane.frequencies[:, 0], plane.frequencies[:, 1] % box
    grid[:, fy, fx] = samples
    on_axis = fx == 0
    grid[:, (-fy[on_axis]) % box, 0] = samples[:, on_axis].conj()
    centred = torch.fft.irfft2(grid * box, s=(box, box))
    return torch.fft.fftshift(centred, dim=(-2, -1))

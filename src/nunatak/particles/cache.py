"""Particles as the engine uses them: Fourier samples of all images on one grid, read once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from nunatak.core.collective import ALONE, Group, Share
from nunatak.core.fourier import HalfPlane, half_plane, sample_images
from nunatak.optics.ctf import CtfParameters, evaluate_ctf
from nunatak.particles.checks import require_computable
from nunatak.particles.dataset import Particles
from nunatak.particles.preprocess import normalise


@dataclass(frozen=True)
class ImageCache:
    """Half-plane samples of n images on the common grid, or of this process' share of them.

    Attributes
    ----------
    samples : (n, m) complex64
        Transforms of normalised images, protein bright.
    transfer : (n, m) float32
        CTF values; 1 everywhere for particles without a CTF.
    plane : HalfPlane
    pixel_size_A : float
        Of the common grid, whose box is plane.box_px.
    background_power : (shells,) float32
        Mean |Y|^2 per shell of what lies outside the particle, a first guess of the noise variance.
    flat_images : (k,) int64
        Rows of images without any contrast.
    optics : CtfParameters or None
        For CTF values elsewhere, of the same images; None without a CTF.
    share : Share
        Which rows of the whole set these are; `len` is that of the whole set.
    """

    samples: Tensor
    transfer: Tensor
    plane: HalfPlane
    pixel_size_A: float
    background_power: Tensor
    flat_images: Tensor
    optics: CtfParameters | None
    share: Share = field(default_factory=Share)

    def __len__(self) -> int:
        return self.share.count if self.share.size > 1 else len(self.samples)

    @property
    def extent_A(self) -> float:
        """Side of the image: a Fourier pixel is 1 / extent."""
        return self.plane.box_px * self.pixel_size_A

    def transfer_at(self, frequencies_px: Tensor) -> Tensor:
        """(n, k) float32 CTF values at (k, 2) frequencies in Fourier pixels."""
        if self.optics is None:
            return torch.ones(len(self.samples), len(frequencies_px), device=self.samples.device)
        scaled, at_once = frequencies_px.double() / self.extent_A, 1024
        starts = range(0, len(self.samples), at_once)
        return torch.cat([evaluate_ctf(self.optics[slice(i, i + at_once)], scaled) for i in starts])

    def image_power(self) -> Tensor:
        """(shells,) mean |Y|^2 per shell over all images."""
        return self.share.total(shell_power(self.samples, self.plane) * (len(self.samples) / len(self)))


def shell_power(samples: Tensor, plane: HalfPlane) -> Tensor:
    """(shells,) mean |Y|^2 of (n, m) samples per shell; shell 0 repeats shell 1."""
    per_sample = torch.zeros(len(plane), device=samples.device)
    for part in samples.split(4096):
        per_sample += (part.real**2 + part.imag**2).sum(0)
    total = per_sample.new_zeros(plane.radius_px + 1).index_add_(0, plane.shells, per_sample / len(samples))
    count = torch.bincount(plane.shells, minlength=plane.radius_px + 1).clamp(min=1)
    power = total / count
    power[0] = power[1]
    return power


def _background_power(images: Tensor, plane: HalfPlane, circle_px: float) -> Tensor:
    """(shells,) power of the corners outside a circle, per pixel that lies there."""
    box = images.shape[-1]
    axis = torch.arange(box) - box // 2
    outside = ((axis[:, None] ** 2 + axis[None] ** 2).float().sqrt() > circle_px).float()
    cut = images * outside
    cut = (cut - cut.sum((1, 2), keepdim=True) / outside.sum()) * outside
    scaled = sample_images(cut, plane)
    return shell_power(scaled, plane) / outside.mean()


def build_cache(
    particles: Particles,
    sign: int,
    circle_px: float,
    batch: int = 1024,
    progress: Callable[[int], None] = lambda done: None,
    group: Group = ALONE,
) -> ImageCache:
    """Read, normalise and transform every image, or this process' share of them.

    Parameters
    ----------
    sign : int
        +1 when protein is bright in the images, -1 when it is dark.
    circle_px : float
        Radius of the circle outside which only background is expected, in pixels of the common grid.

    Raises
    ------
    InputError
        A missing or truncated stack, pixels that are not numbers or too large.
    """
    box, pixel = particles.box_px, particles.pixel_size_A
    plane = half_plane(box, (box - 1) // 2)
    share = group.share_of(len(particles))
    first, end = share.bounds
    count = end - first
    samples = torch.empty(count, len(plane), dtype=torch.complex64)
    transfer = torch.ones(count, len(plane))
    frequencies = plane.frequencies.double() / (box * pixel)
    background = torch.zeros(plane.radius_px + 1)
    flat = [torch.zeros(0, dtype=torch.long)]
    done = 0
    for number, (group_pixel, group_box) in enumerate(
        zip(particles.group_pixel_size_A, particles.group_box_px, strict=True)
    ):
        rows = first + torch.nonzero(particles.optics_group[first:end] == number).flatten()
        for part in rows.split(batch):
            read = particles.images.read(part.numpy())
            require_computable(read, part.numpy())
            pixels, is_flat = normalise(read, sign, circle_px * pixel / group_pixel)
            images = torch.from_numpy(np.ascontiguousarray(pixels))
            scale = group_pixel / pixel
            samples[part - first] = sample_images(images, plane, scale)
            if particles.has_ctf:
                transfer[part - first] = evaluate_ctf(particles.optics[part], frequencies)
            background += _background_power(
                images, plane, min(circle_px * pixel / group_pixel, 0.5 * group_box)
            ) * len(part)
            flat.append(part[torch.from_numpy(is_flat)])
            done += len(part)
            progress(done)
    optics = particles.optics[slice(first, end)] if particles.has_ctf else None
    power = share.total(background) / len(particles)
    return ImageCache(samples, transfer, plane, pixel, power, share.joined(torch.cat(flat)), optics, share)

"""From raw images to half-plane samples: normalised, with protein bright, on the common grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nunatak.core.device import CPU, to_device
from nunatak.core.fourier import HalfPlane, sample_images
from nunatak.optics.ctf import evaluate_ctf
from nunatak.particles.checks import require_computable
from nunatak.particles.dataset import Particles
from nunatak.particles.preprocess import normalise
from nunatak.particles.stored import StoredRows


@dataclass(frozen=True)
class Ingested:
    """Some images as the engine uses them.

    Attributes
    ----------
    samples : (k, m) complex64
    transfer : (k, m) float32
    background : (shells,) float32
        Power per shell of what lies outside the particle, summed over the images.
    flat : (f,) int64
        Rows of images without any contrast.
    """

    samples: Tensor
    transfer: Tensor
    background: Tensor
    flat: Tensor


@dataclass(frozen=True)
class Ingest:
    """How images are read.

    Attributes
    ----------
    particles : Particles
    plane : HalfPlane
        Of the common grid.
    sign : int
        +1 when protein is bright in the images, -1 when it is dark.
    circle_px : float
        Radius of the circle outside which only background is expected, in pixels of the common grid.
    device : torch.device
        Where images are normalised and transformed; the plane lies there.
    """

    particles: Particles
    plane: HalfPlane
    sign: int
    circle_px: float
    device: torch.device = CPU

    def groups(self, first: int, end: int) -> list[Tensor]:
        """Rows of a stretch, those of each optics group together."""
        group = self.particles.optics_group[first:end]
        found = (torch.nonzero(group == n).flatten() for n in range(len(self.particles.group_box_px)))
        return [first + rows for rows in found if len(rows)]

    def read(self, rows: Tensor) -> Ingested:
        """Images of one optics group.

        Raises
        ------
        InputError
            A missing or truncated stack, pixels that are not numbers or too large.
        """
        particles, plane = self.particles, self.plane
        number = int(particles.optics_group[rows[0]])
        group_box = particles.group_box_px[number]
        scale = particles.group_pixel_size_A[number] / particles.pixel_size_A
        read = particles.images.read(rows.numpy())
        require_computable(read, rows.numpy())
        raw = torch.from_numpy(np.ascontiguousarray(read, np.float32)).to(self.device)
        images, is_flat = normalise(raw, self.sign, self.circle_px / scale)
        samples = sample_images(images, plane, scale)
        transfer = torch.ones(len(rows), len(plane), device=self.device)
        if particles.has_ctf:
            frequencies = plane.frequencies.double() / (particles.box_px * particles.pixel_size_A)
            transfer = evaluate_ctf(to_device(particles.optics[rows], self.device), frequencies)
        circle_px = min(self.circle_px / scale, 0.5 * group_box)
        background = background_power(images, plane, circle_px) * len(rows)
        return Ingested(samples, transfer, background.to(CPU), rows[is_flat.to(CPU)])


def background_power(images: Tensor, plane: HalfPlane, circle_px: float) -> Tensor:
    """(shells,) power of the corners outside a circle, per pixel that lies there."""
    box = images.shape[-1]
    axis = torch.arange(box, device=images.device) - box // 2
    outside = ((axis[:, None] ** 2 + axis[None] ** 2).float().sqrt() > circle_px).float()
    cut = images * outside
    cut = (cut - cut.sum((1, 2), keepdim=True) / outside.sum()) * outside
    scaled = sample_images(cut, plane)
    return shell_power(scaled, plane) / outside.mean()


def shell_power(samples: Tensor | StoredRows, plane: HalfPlane, at_once: int = 4096) -> Tensor:
    """(shells,) mean |Y|^2 of (n, m) samples per shell; shell 0 repeats shell 1."""
    per_sample = torch.zeros(len(plane), device=samples.device)
    for part in samples.split(at_once):
        per_sample += (part.real**2 + part.imag**2).sum(0)
    total = per_sample.new_zeros(plane.radius_px + 1).index_add_(0, plane.shells, per_sample / len(samples))
    count = torch.bincount(plane.shells, minlength=plane.radius_px + 1).clamp(min=1)
    power = total / count
    power[0] = power[1]
    return power

"""Small molecules with a moving part, and images of them by the engine's own projector, for this room."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nunatak.core.fourier import HalfPlane, half_plane
from nunatak.geometry.rotations import random_rotations, rotation_from_vector
from nunatak.projection.gridding import block_from_maps
from nunatak.projection.operator import slice_block
from nunatak.search.candidates import Candidates, ImageSamples


def molecule_maps(box: int, components: int = 0, width_px: float = 1.5, spread: float = 0.13) -> Tensor:
    """(1 + components, box, box, box): blobs, and what changes when some of them move."""
    generator = torch.Generator().manual_seed(4)
    axis = torch.arange(box) - box // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], -1).float()
    blob = lambda centre: torch.exp(-((points - centre) ** 2).sum(-1) / (2 * width_px**2))  # noqa: E731
    centres = spread * box * torch.randn(8, 3, generator=generator).clamp(-1.4, 1.4)
    maps = [sum(blob(c) for c in centres)]
    for i in range(components):
        move = 0.12 * box * torch.nn.functional.normalize(torch.randn(3, generator=generator), dim=0)
        maps.append(blob(centres[i] + move) - blob(centres[i] - move))
    return torch.stack(maps)


@dataclass(frozen=True)
class Views:
    """Images, the model they show, and what is true of each."""

    block: Tensor
    images: ImageSamples
    truth: Candidates
    noise_variance: float

    @property
    def weights(self) -> Tensor:
        """2 / sigma^2 per shell, as the local search wants it."""
        return torch.full((self.images.plane.radius_px + 1,), 2 / self.noise_variance)


def wavy_transfer(count: int, plane: HalfPlane, generator: torch.Generator) -> Tensor:
    """(count, m) functions that change sign with radius, as CTFs do."""
    radius = plane.frequencies.float().norm(dim=1) / plane.radius_px
    bend = 4 + 4 * torch.rand(count, 1, generator=generator)
    return torch.cos(bend * radius**2)


def make_views(
    count: int = 12, box: int = 24, radius: int = 9, latent_dim: int = 0, noise: float = 0.0, seed: int = 0
) -> Views:
    """Images at random poses, shifted by about a pixel; `noise` is sigma over the images' rms signal."""
    generator = torch.Generator().manual_seed(seed)
    block = block_from_maps(molecule_maps(box, latent_dim), radius)
    plane = half_plane(box, radius)
    rotations = random_rotations(count, generator)
    shifts = torch.randn(count, 2, generator=generator)
    latents = torch.randn(count, latent_dim, generator=generator)
    transfer = wavy_transfer(count, plane, generator)
    slices = slice_block(block, rotations, plane.frequencies)
    clean = slices[..., 0] + (slices[..., 1:] * latents[:, None]).sum(-1)
    angle = 2 * math.pi / box * (shifts @ plane.frequencies.float().T)
    samples = clean * transfer * torch.polar(torch.ones_like(angle), angle)
    variance = float(noise * samples.abs().square().mean().sqrt()) ** 2
    drawn = torch.randn(samples.shape, dtype=torch.complex64, generator=generator)
    images = ImageSamples(samples + math.sqrt(variance) * drawn, transfer, plane)
    truth = Candidates(rotations, shifts, torch.ones(count), latents, torch.arange(count))
    # Without noise some scale is needed all the same: a thousandth of the signal.
    return Views(block, images, truth, variance or float(samples.abs().square().mean()) * 1e-6)


def disturbed(truth: Candidates, angle_deg: float, shift_px: float, seed: int = 1) -> Candidates:
    """The truth turned by an angle and moved by a length in random directions, latents at zero."""
    generator = torch.Generator().manual_seed(seed)
    unit = lambda n: torch.nn.functional.normalize(torch.randn(len(truth), n, generator=generator), dim=1)  # noqa: E731
    turns = rotation_from_vector(math.radians(angle_deg) * unit(3))
    return replace(
        truth,
        rotations=turns @ truth.rotations,
        shifts_px=truth.shifts_px + shift_px * unit(2),
        latents=torch.zeros_like(truth.latents),
    )

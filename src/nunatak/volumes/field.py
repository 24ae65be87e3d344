"""What a trainable volume is: a transform F_V(k; z) that can be sliced, and made into a map at a latent.

Two fields stand behind one protocol: nunatak.volumes.coordinate_field (a network of coordinates and latent)
and nunatak.volumes.grid_field (a few maps, mixed by a network of the latent alone).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from nunatak.core.fourier import real_map


@dataclass(frozen=True)
class FieldShape:
    """What every field needs to know.

    Attributes
    ----------
    box_px : int
        Box of its maps.
    radius_px : int
        Fourier radius it describes; it is zero beyond. Less than half the box.
    latent_dim : int
    """

    box_px: int
    radius_px: int
    latent_dim: int


class VolumeField(Protocol):
    """A trainable F_V(k; z); also a torch.nn.Module, whose parameters and buffers are all of its state."""

    shape: FieldShape

    def at(self, points: Tensor, latents: Tensor) -> Tensor:
        """(b, n) complex64 F_V at (b, n, 3) points (x, y, z) in Fourier pixels, for (b, q) latents."""

    def slices(self, rotations: Tensor, frequencies: Tensor, latents: Tensor) -> Tensor:
        """(b, n) complex64 central slices: `at` on the planes of (b, 3, 3) rotations, differentiable."""

    def maps(self, latents: Tensor) -> Tensor:
        """(b, d, d, d) real maps at (b, q) latents, without a gradient."""

    def parameters(self, recurse: bool = True) -> Any:
        """Of torch.nn.Module."""

    def state_dict(self) -> dict[str, Tensor]:
        """Of torch.nn.Module."""

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> Any:
        """Of torch.nn.Module."""


def half_ball(radius_px: int, device: torch.device) -> Tensor:
    """(n, 3) int64 frequencies (x, y, z) of a real map within a radius without their Friedel mates."""
    axis = torch.arange(-radius_px, radius_px + 1, device=device)
    z, y, x = (part.flatten() for part in torch.meshgrid(axis, axis, axis[radius_px:], indexing="ij"))
    kept = (x**2 + y**2 + z**2 <= radius_px**2) & ((x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z >= 0)))))
    return torch.stack([x, y, z], 1)[kept]


def maps_from_half_ball(samples: Tensor, frequencies: Tensor, box_px: int) -> Tensor:
    """(b, d, d, d) real maps from (b, n) samples at the frequencies of half_ball."""
    origin = box_px // 2
    transform = samples.new_zeros(len(samples), box_px, box_px, box_px)
    for sign, values in ((-1, samples.conj()), (1, samples)):
        x, y, z = (sign * frequencies + origin).T
        transform[:, z, y, x] = values
    transform[:, origin, origin, origin].imag.zero_()
    return real_map(transform)


def radial(amplitude: Tensor, points: Tensor) -> Tensor:
    """(...) amplitude per shell, interpolated at the radius of (..., 3) points."""
    radius = points.norm(dim=-1).clamp(max=len(amplitude) - 1)
    low = radius.floor().long().clamp(max=len(amplitude) - 2)
    fraction = radius - low
    return amplitude[low] * (1 - fraction) + amplitude[low + 1] * fraction

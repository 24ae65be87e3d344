"""What a trainable volume is: a transform F_V(k; z) that can be sliced, and made into a map at a latent.

Two fields stand behind one protocol: nunatak.volumes.coordinate_field (a network of coordinates and latent)
and nunatak.volumes.grid_field (a few maps, mixed by a network of the latent alone).
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from nunatak.core.fourier import real_map
from nunatak.volumes.field_config import FieldShape
from nunatak.volumes.maps import working_box


class VolumeField(Protocol):
    """A trainable F_V(k; z); also a torch.nn.Module, whose parameters and buffers are all of its state."""

    shape: FieldShape

    def at(self, points: Tensor, latents: Tensor) -> Tensor:
        """(b, n) complex64 F_V at (b, n, 3) points (x, y, z) in Fourier pixels, for (b, q) latents."""

    def slices(self, rotations: Tensor, frequencies: Tensor, latents: Tensor) -> Tensor:
        """(b, n) complex64 central slices: `at` on the planes of (b, 3, 3) rotations, differentiable."""

    def maps(self, latents: Tensor, radius_px: int | None = None) -> Tensor:
        """(b, d, d, d) real maps at (b, q) latents, without a gradient.

        Parameters
        ----------
        radius_px : int, optional
            Cut at this Fourier radius, on the working box for it; by default the field's radius and box.
        """

    def transform(self, frequencies: Tensor, latents: Tensor) -> Tensor:
        """(b, n) complex64 transform of the maps at (n, 3) whole frequencies (x, y, z), not interpolated."""

    def parameters(self, recurse: bool = True) -> Any:
        """Of torch.nn.Module."""


def cut_to(shape: FieldShape, radius_px: int | None) -> FieldShape:
    """The shape of maps that are cut at a radius."""
    if radius_px is None or radius_px >= shape.radius_px:
        return shape
    return FieldShape(min(working_box(radius_px), shape.box_px), radius_px, shape.latent_dim)


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

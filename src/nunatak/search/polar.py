"""Polar Fourier samples, on which turning a view in its plane is only a shift of indices.

Every ring holds a multiple of the grid's in-plane count of equidistant samples, so one slice per viewing
direction serves all in-plane angles, in the search as in the sums that go back into the volume. Only the
half-plane of angles 0 to 180 degrees is kept; the other half are the Friedel mates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nunatak.core.fourier import HalfPlane, images_from_samples

# Radius over the box outside which only background is expected: just inside the box's edge.
_CIRCLE_FRACTION = 0.47


@dataclass(frozen=True)
class PolarPlane:
    """Samples on rings 1..radius over half a turn.

    Attributes
    ----------
    frequencies : (n, 2) float64
        (kx, ky) in Fourier pixels, ring by ring; within a ring orbit by orbit, an orbit being the
        in_plane_count / 2 samples that turns carry into each other, in the order of the turns.
    rings : (n,) int64
        Ring of each sample, its radius in Fourier pixels.
    areas : (n,) float32
        Area in Fourier pixels that a sample stands for; sums to that of the half-plane.
    turns : (in_plane_count, n) int64
        turns[s, j] is the sample that sample j falls on after turning by s steps.
    mates : (in_plane_count, n) bool
        True where that sample's Friedel mate is meant.
    """

    frequencies: Tensor
    rings: Tensor
    areas: Tensor
    turns: Tensor
    mates: Tensor

    def __len__(self) -> int:
        return len(self.rings)

    @property
    def in_plane_count(self) -> int:
        """Number of equidistant in-plane angles that are shifts of indices."""
        return len(self.turns)

    def count_within(self, radius_px: int) -> int:
        """Number of samples on rings up to a radius: they are the first ones."""
        return int((self.rings <= radius_px).sum())

    def within(self, radius_px: int) -> PolarPlane:
        """The same plane cut to a smaller radius."""
        n = self.count_within(radius_px)
        return PolarPlane(
            self.frequencies[:n], self.rings[:n], self.areas[:n], self.turns[:, :n], self.mates[:, :n]
        )


def polar_plane(radius_px: int, in_plane_count: int) -> PolarPlane:
    """A plane whose rings have at least 2 pi r samples, in multiples of the in-plane count."""
    rings, angles, areas, turns, mates = [], [], [], [], []
    start, orbit = 0, in_plane_count // 2
    steps = torch.arange(in_plane_count)[:, None]
    for ring in range(1, radius_px + 1):
        per_step = math.ceil(2 * math.pi * ring / in_plane_count)
        half = per_step * orbit
        step_of = torch.arange(half) % orbit
        first = torch.arange(half) // orbit
        rings.append(torch.full((half,), ring))
        angles.append((first + step_of * per_step).double() * (math.pi / half))
        areas.append(torch.full((half,), math.pi * ring / half))
        turned = (step_of[None] + steps) % in_plane_count
        mates.append(turned >= orbit)
        turns.append(first * orbit + turned % orbit + start)
        start += half
    every, angle = torch.cat(rings), torch.cat(angles)
    frequencies = torch.stack([every * torch.cos(angle), every * torch.sin(angle)], 1)
    return PolarPlane(frequencies, every, torch.cat(areas), torch.cat(turns, 1), torch.cat(mates, 1))


def polar_transform(plane: PolarPlane, box_px: int) -> Tensor:
    """(box * box, n) complex64 matrix that takes centred real images to polar samples, divided by the box.

    The half-plane lacks the zero frequency, a constant, which matters between its lattice points: it is
    fixed by taking the background in the corners to be zero. Else a molecule's samples are 4 to 10 % off.
    """
    exact: dict[str, Any] = {"dtype": torch.float64, "device": plane.frequencies.device}
    x = torch.arange(box_px, **exact) - box_px // 2
    phase = lambda k: torch.polar(torch.ones(1, **exact), -2 * math.pi * x[:, None] * k / box_px)  # noqa: E731
    phase_x = phase(plane.frequencies[:, 0]).to(torch.complex64)
    phase_y = phase(plane.frequencies[:, 1]).to(torch.complex64)
    transform = (phase_y[:, None, :] * phase_x[None, :, :]).reshape(box_px * box_px, -1) / box_px
    corners = ((x[:, None] ** 2 + x[None] ** 2).sqrt() > _CIRCLE_FRACTION * box_px).flatten()
    return transform - (corners / corners.sum()).float()[:, None] * transform.sum(0)


def polar_samples(samples: Tensor, cartesian: HalfPlane, transform: Tensor) -> Tensor:
    """(b, n) complex64 polar samples of images given by (b, m) half-plane samples on a working box.

    Trigonometric interpolation: back to the pixels of the working box, then the transform at polar points.
    """
    images = images_from_samples(samples, cartesian)
    flat = images.reshape(len(images), -1)
    return torch.complex(flat @ transform.real, flat @ transform.imag)


def turn_all(slices: Tensor, plane: PolarPlane, dtype: torch.dtype = torch.float32) -> Tensor:
    """(d, in_plane_count, 2 n) real features of all in-plane turns of (d, n) complex slices.

    Features are the real parts, then the imaginary parts.
    """
    count, turns = len(plane), plane.turns.flatten()
    features = torch.empty(len(slices), plane.in_plane_count, 2 * count, dtype=dtype, device=slices.device)
    # Rounded before they are turned: the same numbers, and half the bytes to move.
    real, imaginary = (
        part.to(dtype)[:, turns].view(-1, *plane.turns.shape) for part in (slices.real, slices.imag)
    )
    features[..., :count] = real
    torch.mul(imaginary, 1 - 2 * plane.mates.to(dtype), out=features[..., count:])
    return features


def fold_turns(features: Tensor, plane: PolarPlane) -> Tensor:
    """Adjoint of turn_all: (d, in_plane_count, 2 n) features summed back onto (d, n) complex slices."""
    n = len(plane)
    imaginary = features[..., n:]
    imaginary = torch.where(plane.mates, -imaginary, imaginary)
    index = plane.turns.reshape(-1).expand(len(features), -1)
    zero = features.new_zeros(len(features), n)
    real_sum = zero.scatter_add(1, index, features[..., :n].reshape(len(features), -1))
    imaginary_sum = zero.scatter_add(1, index, imaginary.reshape(len(features), -1))
    return torch.complex(real_sum, imaginary_sum)


def turn_weights(weights: Tensor, plane: PolarPlane) -> Tensor:
    """(d, in_plane_count, n) turns of (d, n) real, Friedel-even samples."""
    return weights[:, plane.turns]


def fold_weights(weights: Tensor, plane: PolarPlane) -> Tensor:
    """Adjoint of turn_weights."""
    index = plane.turns.reshape(-1).expand(len(weights), -1)
    zero = weights.new_zeros(len(weights), len(plane))
    return zero.scatter_add(1, index, weights.reshape(len(weights), -1))

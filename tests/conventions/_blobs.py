"""A molecule of Gaussian blobs without symmetry, whose map, projections and transforms are known exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Blobs:
    """Sum of w exp(-|x - c|^2 / (2 s^2)), in pixels.

    Attributes
    ----------
    centres_px : (m, 3) float64
        (x, y, z) from the origin.
    weights : (m,) float64
    width_px : float
    """

    centres_px: Tensor
    weights: Tensor
    width_px: float

    def map(self, box_px: int) -> Tensor:
        """(d, d, d) float64 map, zyx, origin at box // 2."""
        axis = torch.arange(box_px, dtype=torch.float64) - box_px // 2
        z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
        points = torch.stack([x, y, z], -1)
        squared = ((points[..., None, :] - self.centres_px) ** 2).sum(-1)
        return (self.weights * torch.exp(-squared / (2 * self.width_px**2))).sum(-1)

    def image(self, box_px: int, rotation: Tensor, moved_px: Tensor | None = None) -> Tensor:
        """(d, d) float64 projection along rotation[2], its content moved by (x, y) pixels."""
        moved = torch.zeros(2, dtype=torch.float64) if moved_px is None else moved_px
        centres = self.centres_px @ rotation.double()[:2].T + moved
        axis = torch.arange(box_px, dtype=torch.float64) - box_px // 2
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        squared = ((torch.stack([x, y], -1)[..., None, :] - centres) ** 2).sum(-1)
        depth = math.sqrt(2 * math.pi) * self.width_px
        return (depth * self.weights * torch.exp(-squared / (2 * self.width_px**2))).sum(-1)

    def transform(self, points: Tensor, box_px: int) -> Tensor:
        """Complex transform at (..., 3) frequencies (x, y, z) in Fourier pixels, divided by the box."""
        k = points.double() / box_px
        envelope = (2 * math.pi * self.width_px**2) ** 1.5 * torch.exp(
            -2 * math.pi**2 * self.width_px**2 * (k**2).sum(-1)
        )
        phase = torch.exp(-2j * math.pi * (k @ self.centres_px.T))
        return envelope * (phase * self.weights).sum(-1) / box_px

    def mirrored(self) -> Blobs:
        """V(-x)."""
        return Blobs(-self.centres_px, self.weights, self.width_px)


def molecule() -> Blobs:
    """Five unequal blobs in general positions, within 6 pixels of the origin."""
    centres = [[4.0, 0.5, -1.0], [-2.0, 3.5, 1.5], [0.5, -3.0, 3.0], [1.5, 2.0, -4.0], [-3.0, -2.0, -2.5]]
    weights = [1.0, 0.7, 1.3, 0.5, 0.9]
    return Blobs(torch.tensor(centres, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64), 1.5)

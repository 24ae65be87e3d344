"""What a local search talks about: images, candidate poses and latents for them, their normal equations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nunatak.core.fourier import HalfPlane

# Columns of the normal equations before the latents: three rotation angles, two shifts, the scale.
ROTATION = slice(0, 3)
SHIFT = slice(3, 5)
SCALE = 5
LATENT = slice(6, None)


@dataclass(frozen=True)
class ImageSamples:
    """Half-plane samples of n images.

    Attributes
    ----------
    samples : (n, m) complex64
    transfer : (n, m) float32
        CTF values.
    plane : HalfPlane
        Of m samples.
    """

    samples: Tensor
    transfer: Tensor
    plane: HalfPlane

    def __len__(self) -> int:
        return len(self.samples)


@dataclass(frozen=True)
class Candidates:
    """Hypotheses (pose, scale, latent) about images; several may refer to one image.

    Attributes
    ----------
    rotations : (e, 3, 3) float32
    shifts_px : (e, 2) float32
        In pixels of the particles' box, RELION's sign.
    scales : (e,) float32
        Contrast of the image relative to the model.
    latents : (e, q) float32
    rows : (e,) int64
        Which image.
    """

    rotations: Tensor
    shifts_px: Tensor
    scales: Tensor
    latents: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, picked: Tensor | slice) -> Candidates:
        return Candidates(
            self.rotations[picked],
            self.shifts_px[picked],
            self.scales[picked],
            self.latents[picked],
            self.rows[picked],
        )

    def where(self, chosen: Tensor, other: Candidates) -> Candidates:
        """`other` where chosen is true, self elsewhere; rows must agree."""
        return replace(
            self,
            rotations=torch.where(chosen[:, None, None], other.rotations, self.rotations),
            shifts_px=torch.where(chosen[:, None], other.shifts_px, self.shifts_px),
            scales=torch.where(chosen, other.scales, self.scales),
            latents=torch.where(chosen[:, None], other.latents, self.latents),
        )


def without_deviation(rotations: Tensor, shifts_px: Tensor) -> Candidates:
    """One candidate per image, in order, from (n, 3, 3) and (n, 2) poses: scale 1, no latents."""
    count, device = len(rotations), rotations.device
    ones, none = torch.ones(count, device=device), torch.zeros(count, 0, device=device)
    return Candidates(rotations, shifts_px, ones, none, torch.arange(count, device=device))


def concatenated(parts: Sequence[Candidates]) -> Candidates:
    """Candidates one after the other."""
    names = ("rotations", "shifts_px", "scales", "latents", "rows")
    return Candidates(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class NormalEquations:
    """Second-order picture of -log likelihood around candidates.

    Attributes
    ----------
    hessian : (e, 6 + q, 6 + q) float32
        J^T J in the whitened metric.
    gradient : (e, 6 + q) float32
        J^T (y - m).
    power : (e, shells) float32
        |y - m|^2 summed over each shell, not whitened.
    """

    hessian: Tensor
    gradient: Tensor
    power: Tensor

"""Amortised poses: a network from an image to its rotation, shift and latent (cryoAI, Levy et al. 2022a).

The image comes through a few Gaussian filters into convolutions and a perceptron; a rotation is two vectors
made orthonormal (Zhou et al. 2019). An image and its copy turned in the plane show one particle, so that the
network may be asked about several copies and the best answer taken: half a turn, where a view resembles that
from the other side, is what a network confuses most (the symmetrised loss of cryoAI).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nunatak.core.fourier import HalfPlane, half_plane, images_from_samples
from nunatak.search.pose_encoder_config import PoseEncoderConfig
from nunatak.volumes.networks import ResidualMLP, drawn_linear

FILTER_SDS = (0.25, 0.5, 1.0)
"""Of the Gaussian filters in Fourier space, over the radius that the network sees."""
SHIFT_UNIT = 0.02
"""What a shift of one at the last layer is, as a fraction of the box."""


@dataclass(frozen=True)
class EncodedPoses:
    """What an encoder says of b images.

    Attributes
    ----------
    rotations : (b, 3, 3) float32
    shifts_px : (b, 2) float32
        Convention 3, in pixels of the particles' box.
    latents : (b, 2 q) float32
        Means and log variances of latents.
    """

    rotations: Tensor
    shifts_px: Tensor
    latents: Tensor

    def of(self, rows: Tensor) -> EncodedPoses:
        """Those of some images."""
        return EncodedPoses(self.rotations[rows], self.shifts_px[rows], self.latents[rows])


def rotations_from_six(numbers: Tensor) -> Tensor:
    """(b, 3, 3) rotations whose first two rows are (b, 6) numbers made orthonormal, differentiable."""
    first, second = numbers[:, :3], numbers[:, 3:]
    x = nn.functional.normalize(first, dim=1)
    y = nn.functional.normalize(second - (x * second).sum(1, keepdim=True) * x, dim=1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], 1)


def seen_plane(radius_px: int) -> HalfPlane:
    """The half-plane of the images that a network sees: an odd box, whose middle is a pixel."""
    return half_plane(2 * radius_px + 1, radius_px)


def seen_images(samples: Tensor, transfer: Tensor, signal: Tensor, plane: HalfPlane) -> Tensor:
    """(b, f, s, s) filtered images of unit variance, from white samples as they lie.

    Parameters
    ----------
    samples, transfer : (b, n) complex64 and float32
        Images and their CTF over the noise's standard deviation, at least to the plane's radius.
    signal : (n,) float32
        Expected |slice|^2 at each sample.
    plane : HalfPlane
        From seen_plane.
    """
    count = len(plane)
    samples, transfer, signal = samples[:, :count], transfer[:, :count], signal[:count]
    wiener = samples * (transfer * signal / (1 + transfer**2 * signal))
    radii = plane.frequencies.to(signal).norm(dim=1) / plane.radius_px
    views = []
    for sd in FILTER_SDS:
        filtered = wiener * torch.exp(-0.5 * (radii / sd) ** 2)
        size = filtered.abs().square().sum(1, keepdim=True).clamp(min=1e-20).rsqrt()
        views.append(images_from_samples(filtered * size * (plane.box_px / 2**0.5), plane))
    return torch.stack(views, 1)


def plane_turns(copies: int, device: torch.device) -> Tensor:
    """(c, 2, 2) equidistant turns of the image plane, the identity first."""
    angle = torch.arange(copies, dtype=torch.float64, device=device) * (2 * math.pi / copies)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    return torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1).float()


def turned_images(images: Tensor, turn: Tensor) -> Tensor:
    """(b, f, s, s) images of odd boxes turned in the plane: what lay at x lies at turn @ x."""
    back = turn.T.expand(len(images), 2, 2)
    where = nn.functional.pad(back, (0, 1))
    grid = nn.functional.affine_grid(where, list(images.shape), align_corners=True)
    return nn.functional.grid_sample(images, grid, align_corners=True)


def turned_back(found: EncodedPoses, turns: Tensor) -> EncodedPoses:
    """Poses of images as they lie, from those of their copies turned by (b, 2, 2) or (2, 2) turns."""
    turns = turns.expand(len(found.rotations), 2, 2)
    rows = torch.einsum("bji,bjk->bik", turns, found.rotations[:, :2])
    rotations = torch.cat([rows, found.rotations[:, 2:]], 1)
    return EncodedPoses(rotations, torch.einsum("bji,bj->bi", turns, found.shifts_px), found.latents)


class PoseEncoder(nn.Module):
    """(b, f, s, s) filtered images to poses and latents.

    Parameters
    ----------
    latent_dim : int
        0 for poses alone.
    box_px : int
        Of the particles: shifts are in its pixels.
    generator : torch.Generator
        On the CPU.
    """

    def __init__(
        self, config: PoseEncoderConfig, latent_dim: int, box_px: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.shift_unit_px = SHIFT_UNIT * box_px
        side, inputs = seen_plane(config.radius_px).box_px, len(FILTER_SDS)
        levels = []
        for level in range(config.levels):
            outputs = config.channels * 2**level
            pair = (
                drawn_convolution(inputs, outputs, generator),
                drawn_convolution(outputs, outputs, generator),
            )
            levels.append(nn.ModuleList(pair))
            inputs, side = outputs, side // 2
        self.levels = nn.ModuleList(levels)
        numbers = 6 + 2 + 2 * latent_dim
        self.network = ResidualMLP(inputs * side**2, config.width, config.layers, numbers, generator)

    def forward(self, images: Tensor) -> EncodedPoses:
        """Of every image."""
        for level in self.levels:
            for convolution in level.children():
                images = torch.relu(convolution(images))
            images = nn.functional.avg_pool2d(images, 2)
        six, shifts, latents = self.network(images.flatten(1)).split(
            [6, 2, self.network.last.out_features - 8], 1
        )
        return EncodedPoses(rotations_from_six(six), self.shift_unit_px * shifts, latents)


def drawn_convolution(inputs: int, outputs: int, generator: torch.Generator) -> nn.Conv2d:
    """A 3 x 3 convolution that keeps the size and, on average, the variance behind a rectifier."""
    layer = nn.utils.skip_init(nn.Conv2d, inputs, outputs, 3, padding=1)
    drawn = drawn_linear(9 * inputs, outputs, generator)
    with torch.no_grad():
        # Uniform numbers within 1 / sqrt(inputs) have a sixth of the variance that a rectifier asks for.
        layer.weight.copy_(6**0.5 * drawn.weight.view_as(layer.weight))
        layer.bias.zero_()
    return layer

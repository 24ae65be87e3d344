"""What an encoder sees where poses are known: the residual of an image, back in the frame of the molecule.

An encoder of images has to learn from examples what a rotation does: with few of them it does not. With the
pose known the residual from a mean map can be projected back, P(R)^T C (x - C P(R) mean): what a linear
model's latents are linear in (theory eq. 9). The encoder then only learns what varies where.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nunatak.core.device import to_device
from nunatak.core.fourier import HalfPlane, half_plane, images_from_samples
from nunatak.projection.gridding import block_from_maps
from nunatak.projection.operator import slice_block
from nunatak.volumes.maps import working_box

RADIUS_PX = 10
"""Fourier radius of what is projected back; what moves is large."""


@dataclass(frozen=True)
class Placing:
    """How images are placed in the molecule's frame.

    Attributes
    ----------
    block : (m, m, h, 1) complex64
        Of the mean map.
    points : (v, 3) float32
        (x, y, z) where the back projection is read, in pixels of the small image.
    small : HalfPlane
        Of the small image.
    """

    block: Tensor
    points: Tensor
    small: HalfPlane

    @property
    def features(self) -> int:
        """How many features an image has: the back projection at the points, and the direction of view."""
        return len(self.points) + 3


def placing(mean: Tensor, radius_px: int, mask_radius_fraction: float) -> Placing:
    """Placing about a (d, d, d) mean map, for images that are known to a radius."""
    radius = min(RADIUS_PX, radius_px)
    box = working_box(radius)
    points = coarse_points(box, radius, mask_radius_fraction, mean.device)
    block = block_from_maps(mean[None], radius)
    return Placing(block, points, to_device(half_plane(box, radius), mean.device))


def coarse_points(box_px: int, radius_px: int, mask_radius_fraction: float, device: torch.device) -> Tensor:
    """(v, 3) points of a grid inside the mask, as fine as the Fourier radius allows."""
    step = box_px / (2 * radius_px)
    reach = int(mask_radius_fraction * box_px / step)
    axis = torch.arange(-reach, reach + 1, device=device) * step
    points = torch.cartesian_prod(axis, axis, axis)
    return points[points.norm(dim=1) <= mask_radius_fraction * box_px]


def placed_features(where: Placing, centred: Tensor, transfer: Tensor, rotations: Tensor) -> Tensor:
    """(b, v + 3) features of white images: back projections of unit variance for noise, directions of view.

    Parameters
    ----------
    centred, transfer : (b, n) complex64 and float32
        Images moved to their centre and their CTF, both over the noise's standard deviation; at least to the
        placing's radius.
    rotations : (b, 3, 3) float32
    """
    count, box = len(where.small), where.small.box_px
    ctf = transfer[:, :count]
    mean = slice_block(where.block, rotations, where.small.frequencies)[..., 0]
    images = images_from_samples((centred[:, :count] - ctf * mean) * ctf, where.small)
    # A pixel of such an image is a sum of independent samples, each with its mate.
    noise = (2 * ctf.square().sum(1)).sqrt() / box
    read = back_projected(images / noise[:, None, None].clamp(min=1e-12), where.points, rotations)
    return torch.cat([read, rotations[:, 2]], 1)


def back_projected(images: Tensor, points: Tensor, rotations: Tensor) -> Tensor:
    """(b, v) values of (b, s, s) images where (v, 3) points of the molecule are seen, bilinear."""
    box = images.shape[-1]
    seen = torch.einsum("bij,vj->bvi", rotations[:, :2], points) + box // 2
    # torch counts from -1 to 1, from the first pixel to the last.
    places = seen * (2 / (box - 1)) - 1
    read = torch.nn.functional.grid_sample(images[:, None], places[:, None], align_corners=True)
    return read[:, 0, 0]

"""Images of maps that a test makes, in noise, with the model of their true poses."""

from __future__ import annotations

from dataclasses import replace

import torch
from _small_runs import small_context, small_set, true_model
from torch import Tensor

from nunatak.projection.gridding import block_from_maps
from nunatak.projection.operator import slice_block
from nunatak.reconstruct.model import Model
from nunatak.reconstruct.state import Context


def blobs(centres: Tensor, width: float, box_px: int) -> Tensor:
    """(d, d, d) sum of Gaussian blobs at (k, 3) places from the middle of the box."""
    axis = torch.arange(box_px, dtype=torch.float32) - box_px // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], -1)
    return torch.exp(-((points[..., None, :] - centres) ** 2).sum(-1) / (2 * width**2)).sum(-1)


def images_of(
    maps: Tensor, weights: Tensor, strength: float, radius_px: int, **settings: object
) -> tuple[Context, Model]:
    """Images of sums of (k, d, d, d) maps with (n, k) weights, none shifted; strength 1 is the noise's."""
    count, box = len(weights), maps.shape[-1]
    noise, truth = small_set(count, box, 0.0)
    inside = noise.plane.count_within(radius_px)
    block = block_from_maps(maps, radius_px)
    slices = slice_block(block, truth.rotations, noise.plane.frequencies[:inside])
    seen = (slices * weights[:, None]).sum(-1)
    seen = strength * seen / seen[:, 1:].abs().square().mean().sqrt()
    samples = noise.samples.clone()
    samples[:, :inside] += noise.transfer[:, :inside] * seen
    context = small_context(replace(noise, samples=samples), **settings)
    model = true_model(context, truth, radius_px)
    unshifted = replace(model.candidates, shifts_px=torch.zeros(count, 2))
    return context, replace(model, candidates=unshifted, noise_variance=small_context(noise).noise_variance)

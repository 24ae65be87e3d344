"""What a trained volume that finds poses begins with.

As published, a volume of images in random poses: something round of the right size and contrast, from which
hard assignments find their way where there are many thousands of images. On few they settle on the first
poses that they try (docs/decisions/0021), so by default the map of the best random start is taken over.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nunatak.geometry.rotations import random_rotations
from nunatak.projection.gridding import block_from_maps
from nunatak.projection.operator import slice_block
from nunatak.reconstruct.autoencoder import images_of, shuffled
from nunatak.reconstruct.neural_model import batch_size, descend, kept_after, resumed
from nunatak.reconstruct.neural_views import misfit
from nunatak.reconstruct.starts import learning_rows, winner
from nunatak.reconstruct.state import Context, RunState
from nunatak.volumes.grid_field import GridField
from nunatak.volumes.maps import change_box, working_box

_ROTATIONS, _PRETRAINED = 36, 38


def pretrained(state: RunState, context: Context, latents: Tensor) -> RunState:
    """The state with a first volume: the map of the best random start, or one of images in random poses.

    Parameters
    ----------
    latents : (n, q) float32
        At which the volume is to be the same.
    """
    config, training, off = context.config, resumed(state, context), 0.0
    decoder, found = training.networks.decoder, None
    if state.starts:
        start, label = winner(state)
        state, found = replace(state, starts=(start,), start_labels=(label,)), start.maps
    if found is not None and isinstance(decoder, GridField):
        decoder.begin_with(found)
        record: dict[str, Any] = {"radius_px": training.radius_px}
        return replace(state, kept=kept_after(state, training), history=(*state.history, record))
    rows = pretraining_rows(context, config.pretrain_images)
    rotations = random_rotations(len(rows), context.generator(_ROTATIONS)).to(context.device)
    for part in torch.arange(len(rows), device=context.device).split(batch_size(context, training.networks)):
        images = images_of(training, context, rows[part])
        seen = images.samples
        if found is not None:
            views = views_of_map(found, rotations[part], images.frequencies, training.radius_px)
            seen = images.transfer * views
        slices = decoder.slices(rotations[part], images.frequencies, latents[rows[part]])
        loss = misfit(seen, images.transfer, slices)
        descend(training, loss.mean(), config.learning_rate)
        off += float(loss.detach().sum()) / len(rows)
        context.progress(int(part[-1]) / len(rows))
    record = {"radius_px": training.radius_px, "misfit": off}
    return replace(state, kept=kept_after(state, training), history=(*state.history, record))


def pretraining_rows(context: Context, count: int) -> Tensor:
    """(count,) rows of images to pretrain with; few images again and again."""
    learning = learning_rows(context)
    rounds = range(-(-count // len(learning)))
    orders = [shuffled(context, _PRETRAINED, number, among=learning) for number in rounds]
    return torch.cat(orders)[:count] if orders else learning[:0]


def views_of_map(maps: Tensor, rotations: Tensor, frequencies: Tensor, radius_px: int) -> Tensor:
    """(b, n) complex64 central slices of a (1, d, d, d) map; zero beyond what the map has."""
    box = max(maps.shape[-1], working_box(radius_px))
    return slice_block(block_from_maps(change_box(maps, box), radius_px), rotations, frequencies)[..., 0]

"""Passes that search poses with the latents of an encoder: cryoDRGN2 (Zhong et al. 2021b)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nunatak.reconstruct.autodecoder import (
    SearchSteps,
    search_epoch,
    told_of,
    with_poses,
)
from nunatak.reconstruct.autoencoder import (
    autoencoder_epoch,
    encoded_posterior,
    features_of,
    images_of,
    shuffled,
)
from nunatak.reconstruct.first_volume import pretrained
from nunatak.reconstruct.neural_model import (
    descend,
    divergence_weight,
    kept_after,
    learning_rate,
    marching_radius,
    resumed,
    started,
)
from nunatak.reconstruct.neural_views import autoencoder_loss
from nunatak.reconstruct.starts import learning_rows
from nunatak.reconstruct.state import Context, RunState

_LATENTS, _ORDER, _DRAWS = 43, 44, 45


def pretrain_pass(state: RunState, context: Context) -> RunState:
    """The first volume, with latents drawn from their prior; the encoder waits."""
    trained = started(context, context.noise_variance, with_encoder=True)
    shape = len(context.cache), context.config.latents
    latents = torch.randn(shape, generator=context.generator(_LATENTS)).to(context.device)
    return pretrained(replace(state, kept={**state.kept, "trained": trained}), context, latents)


def searching_pass(state: RunState, context: Context) -> RunState:
    """An epoch of the autoencoder: every few of them with a search of all poses, else at the last ones."""
    if state.passes % context.config.search_every and state.model is not None:
        return _epoch_at_held_poses(state, context)
    return _epoch_with_search(state, context)


def _epoch_at_held_poses(state: RunState, context: Context) -> RunState:
    own = state.oriented.candidates
    number = state.passes, context.config.epochs
    poses = own.rotations, own.shifts_px
    training, told = autoencoder_epoch(state, context, poses, number, learning_rows(context))
    return replace(state, kept=kept_after(state, training), history=(*state.history, told))


def _epoch_with_search(state: RunState, context: Context) -> RunState:
    config, training = context.config, resumed(state, context)
    count, device = len(context.cache), context.device
    # The encoder sees images alone: of a first pose it is told nothing.
    held = torch.zeros(count, 3, 3, device=device), torch.zeros(count, 2, device=device)
    if state.model is not None:
        held = state.model.candidates.rotations, state.model.candidates.shifts_px
    draws = context.generator(_DRAWS, state.passes)
    networks = training.networks.decoder, training.networks.reading
    rate = learning_rate(config.learning_rate, state.passes / config.epochs)
    latents = encoded_posterior(training, context, held).means

    def train(rows: Tensor, poses: tuple[Tensor, Tensor], radius_px: int) -> None:
        images = images_of(training, context, rows)
        features = features_of(training, images.centred(poses[1]), images.transfer, poses[0])
        images = images.within(radius_px)
        seen = images.centred(poses[1]), images.transfer
        placed = poses[0], images.frequencies
        weight = divergence_weight(config, state.passes / config.epochs)
        descend(training, autoencoder_loss(networks, seen, placed, features, weight, draws).loss, rate)

    def radius(fraction: float) -> int:
        return marching_radius(config, training.radius_px, state.passes / config.epochs)

    steps = SearchSteps(lambda rows: latents[rows], train, radius)
    poses = search_epoch(training, context, shuffled(context, _ORDER, state.passes), steps)
    moved = with_poses(state, context, training, poses)
    kept = kept_after(moved, training)
    return replace(moved, kept=kept, history=(*state.history, told_of(moved, training, poses)))

"""Passes of variational autoencoders at held poses: cryoDRGN (Zhong et al. 2021)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nunatak.latent.encoder import image_features
from nunatak.latent.gauge import population_gauge
from nunatak.latent.placing import placed_features
from nunatak.latent.subspace import LatentPosterior
from nunatak.reconstruct.model import Model
from nunatak.reconstruct.neural_model import (
    Training,
    batch_size,
    descend,
    divergence_weight,
    kept_after,
    learning_rate,
    resumed,
    started,
)
from nunatak.reconstruct.neural_views import WhiteImages, autoencoder_loss, encoded, white_images
from nunatak.reconstruct.state import Context, RunState

_ORDER, _DRAWS = 33, 34
_ROWS_AT_ONCE = 2048


def images_of(training: Training, context: Context, rows: Tensor) -> WhiteImages:
    """Some images as a pass of training meets them."""
    return white_images(context.cache, rows, training.radius_px, training.noise_variance)


def shuffled(context: Context, *purpose: int, among: Tensor | None = None) -> Tensor:
    """Every row once, or each of some, in an order of its own for each purpose."""
    count = len(context.cache) if among is None else len(among)
    order = torch.randperm(count, generator=context.generator(*purpose)).to(context.device)
    return order if among is None else among[order]


def features_of(training: Training, centred: Tensor, transfer: Tensor, rotations: Tensor) -> Tensor:
    """(b, f) what the encoder sees of centred white images: them alone, or placed where poses are known."""
    if training.placing is None:
        return image_features(centred, transfer, training.signal)
    return placed_features(training.placing, centred, transfer, rotations)


def autoencoder_epoch(
    state: RunState,
    context: Context,
    poses: tuple[Tensor, Tensor],
    number: tuple[int, int],
    among: Tensor | None = None,
) -> tuple[Training, dict[str, float]]:
    """Volume and encoder trained on every image once, or on each of some.

    Parameters
    ----------
    poses : (n, 3, 3) rotations and (n, 2) shifts in pixels
    number : which epoch this is, and of how many
    among : (k,) int64, optional
        Rows to train on; all by default.

    Returns
    -------
    the trained modules, and what to say of the epoch
    """
    training, config = resumed(state, context), context.config
    rotations, shifts_px = poses
    batches = shuffled(context, _ORDER, number[0], among=among).split(batch_size(context, training.networks))
    count = sum(len(rows) for rows in batches)
    draws = context.generator(_DRAWS, number[0])
    networks = training.networks.decoder, training.networks.reading
    gain, divergence = 0.0, 0.0
    for step, rows in enumerate(batches):
        done = (number[0] + step / len(batches)) / number[1]
        images = images_of(training, context, rows)
        centred = images.centred(shifts_px[rows])
        terms = autoencoder_loss(
            networks,
            (centred, images.transfer),
            (rotations[rows], images.frequencies),
            features_of(training, centred, images.transfer, rotations[rows]),
            divergence_weight(config, done),
            draws,
        )
        descend(training, terms.loss, learning_rate(config.learning_rate, done))
        explained = centred.abs().square().sum(1) - terms.misfit
        gain += float(explained.detach().sum()) / count
        divergence += float(terms.divergence.detach().sum()) / count
        context.progress((step + 1) / len(batches))
    told = {"radius_px": training.radius_px, "log_evidence": gain - divergence, "divergence": divergence}
    return training, told


def autoencoder_pass(state: RunState, context: Context) -> RunState:
    """An epoch at the poses that the model holds."""
    model = state.oriented
    if "trained" not in state.kept:
        trained = started(context, model.noise_variance, True, model.maps[:, 0].mean(0))
        state = replace(state, kept={**state.kept, "trained": trained})
    poses = model.candidates.rotations, model.candidates.shifts_px
    training, told = autoencoder_epoch(state, context, poses, (state.passes, context.config.epochs))
    return replace(state, kept=kept_after(state, training), history=(*state.history, told))


@torch.no_grad()
def encoded_posterior(training: Training, context: Context, poses: tuple[Tensor, Tensor]) -> LatentPosterior:
    """What the encoder says of every image at its (n, 3, 3) rotation and (n, 2) shift."""
    means, covariances = [], []
    for rows in torch.arange(len(context.cache), device=context.device).split(_ROWS_AT_ONCE):
        images = images_of(training, context, rows)
        centred = images.centred(poses[1][rows])
        seen = features_of(training, centred, images.transfer, poses[0][rows])
        mean, log_variance = encoded(training.networks.reading, seen)
        means.append(mean)
        covariances.append(torch.diag_embed(log_variance.exp()))
    return LatentPosterior(torch.cat(means), torch.cat(covariances))


def with_latents(state: RunState, posterior: LatentPosterior, training: Training) -> RunState:
    """The state with latents in the gauge of convention 10, and a decoder that takes them so.

    The model's components start from nothing: the last pass makes those of the linear model in these latents.
    """
    model = state.oriented
    gauge = population_gauge(posterior)
    placed = gauge.latents(posterior)
    empty = model.maps.new_zeros(len(model.maps), placed.means.shape[1], *model.maps.shape[2:])
    shells = model.correlation.new_zeros(placed.means.shape[1], model.correlation.shape[1])
    renewed = replace(
        model,
        maps=torch.cat([model.maps[:, :1], empty], 1),
        correlation=torch.cat([model.correlation[:1], shells]),
        candidates=replace(model.candidates, latents=placed.means),
        covariances=placed.covariances,
    )
    decoder = {
        "plan": state.kept["trained"]["plan"],
        "parameters": {n: t.detach().clone() for n, t in training.networks.decoder.state_dict().items()},
        "centre": gauge.centre,
        "transform": gauge.transform,
    }
    return replace(state, model=renewed, kept={**state.kept, "decoder": decoder})


def embed_pass(state: RunState, context: Context) -> RunState:
    """Latents of all images from the encoder."""
    training = resumed(state, context)
    own = state.oriented.candidates
    posterior = encoded_posterior(training, context, (own.rotations, own.shifts_px))
    moved = with_latents(state, posterior, training)
    record = {"radius_px": training.radius_px, "latent_spread": float(posterior.means.std(0).mean())}
    return replace(moved, history=(*state.history, record))


def posed(model: Model, rotations: Tensor, shifts_px: Tensor) -> Model:
    """The same model with other poses."""
    candidates = replace(model.candidates, rotations=rotations, shifts_px=shifts_px)
    return replace(model, candidates=candidates)

"""Passes of amortised poses: cryoAI and cryoFIRE (Levy et al. 2022a, 2022b).

An encoder gives the pose, and with cryoFIRE the latent, of each image; the volume and the encoder go down
the misfit together. Every image is encoded as it lies and turned in its plane, and the better answer counts.
On few images that alone finds nothing, so the encoder is also shown views of the volume of the moment, whose
poses are known: what it has learnt from them it is asked about the images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nunatak.core.device import to_device
from nunatak.geometry.rotations import random_rotations
from nunatak.latent.encoder import divergence_from_prior
from nunatak.latent.subspace import LatentPosterior
from nunatak.reconstruct.autodecoder import (
    Descent,
    LatentTable,
    gradient_pass,
    kept_latents,
    told_of,
    with_poses,
)
from nunatak.reconstruct.autoencoder import shuffled, with_latents
from nunatak.reconstruct.bank_search import BankPoses
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.first_volume import pretrained
from nunatak.reconstruct.neural_model import (
    BATCHES,
    Training,
    descend,
    divergence_weight,
    kept_after,
    learning_rate,
    marching_radius,
    pose_encoder_sizes,
    resumed,
    started,
)
from nunatak.reconstruct.neural_views import (
    LOG_VARIANCE_RANGE,
    WhiteImages,
    drawn_latents,
    misfit,
    white_images,
)
from nunatak.reconstruct.starts import learning_rows
from nunatak.reconstruct.state import Context, RunState
from nunatak.search.lazy_adam import no_moments
from nunatak.search.pose_encoder import (
    EncodedPoses,
    plane_turns,
    seen_images,
    seen_plane,
    turned_back,
    turned_images,
)
from nunatak.volumes.grid_field import GridField

POLISHING = 5
# Views of the volume at a time: a network has activations at every Fourier point of each.
AT_ONCE = {"network": 64, "grid": 4096}
STEPS_AT_ONCE = 8
_ORDER, _DRAWS, _LATENTS = 51, 52, 53
_ROWS_AT_ONCE = 1024


def pretrain_pass(state: RunState, context: Context) -> RunState:
    """The first volume, with latents drawn from their prior; the encoder waits."""
    trained = started(context, context.noise_variance, with_encoder="poses")
    shape = len(context.cache), context.config.latents
    latents = torch.randn(shape, generator=context.generator(_LATENTS)).to(context.device)
    return pretrained(replace(state, kept={**state.kept, "trained": trained}), context, latents)


@dataclass(frozen=True)
class Shown:
    """Images as a step of training has them.

    Attributes
    ----------
    images : WhiteImages
    views : (c, b, f, s, s) float32
        What the encoder sees: all copies of every image, turned in the plane.
    turns : (c, 2, 2) float32
    """

    images: WhiteImages
    views: Tensor
    turns: Tensor

    def of(self, rows: Tensor) -> Shown:
        """Those of some images."""
        images = replace(self.images, samples=self.images.samples[rows], transfer=self.images.transfer[rows])
        return Shown(images, self.views[:, rows], self.turns)

    def picked(self, copies: Tensor) -> tuple[Tensor, Tensor]:
        """(b, f, s, s) views and (b, 2, 2) turns of one copy of every image."""
        return self.views[copies, torch.arange(len(copies), device=copies.device)], self.turns[copies]


def shown(images: WhiteImages, training: Training, context: Context) -> Shown:
    """Images with everything that the encoder is to see of them."""
    plane = to_device(seen_plane(pose_encoder_sizes(context).radius_px), context.device)
    views = seen_images(images.samples, images.transfer, training.signal, plane)
    turns = plane_turns(context.config.plane_copies, context.device)
    return Shown(images, torch.stack([turned_images(views, turn) for turn in turns]), turns)


def latent_numbers(found: EncodedPoses) -> tuple[Tensor, Tensor]:
    """Means and log variances of latents, (b, q) each."""
    mean, log_variance = found.latents.chunk(2, 1)
    return mean, log_variance.clamp(*LOG_VARIANCE_RANGE)


def misfits(training: Training, images: WhiteImages, found: EncodedPoses, latents: Tensor) -> Tensor:
    """(b,) of images with the volume at poses and latents."""
    slices = training.networks.decoder.slices(found.rotations, images.frequencies, latents)
    return misfit(images.centred(found.shifts_px), images.transfer, slices)


def plan_kind(training: Training) -> str:
    """What kind of volume is trained."""
    return "grid" if isinstance(training.networks.decoder, GridField) else "network"


def every_answer(training: Training, seen: Shown) -> EncodedPoses:
    """What the encoder says of all copies of all images, turned back: (c b) answers, copy by copy."""
    turns = seen.turns.repeat_interleave(seen.views.shape[1], 0)
    return turned_back(training.networks.posing(seen.views.flatten(0, 1)), turns)


@torch.no_grad()
def best_copies(training: Training, seen: Shown, images: WhiteImages) -> tuple[Tensor, EncodedPoses, Tensor]:
    """(b,) copy of each image whose answer fits best, that answer, and its (b,) misfits."""
    copies, count = seen.views.shape[:2]
    found = every_answer(training, seen)
    every = torch.arange(copies * count, device=seen.views.device)
    parts = []
    for part in every.split(AT_ONCE[plan_kind(training)]):
        answers, rows = found.of(part), part % count
        some = replace(images, samples=images.samples[rows], transfer=images.transfer[rows])
        parts.append(misfits(training, some, answers, latent_numbers(answers)[0]))
    off = torch.cat(parts).view(copies, count)
    least, best = off.min(0)
    return best, found.of(best * count + every[:count]), least


def image_loss(
    training: Training, seen: Shown, images: WhiteImages, beta: float, draws: torch.Generator
) -> Tensor:
    """The symmetrised loss per sample: misfit by the better copy's answer, and divergence of latents."""
    views, turns = seen.picked(best_copies(training, seen, images)[0])
    found = turned_back(training.networks.posing(views), turns)
    mean, log_variance = latent_numbers(found)
    off = misfits(training, images, found, drawn_latents(mean, log_variance, draws))
    return (off + beta * divergence_from_prior(mean, log_variance)).mean() / images.samples.shape[1]


def squared_chords(first: Tensor, second: Tensor) -> Tensor:
    """(b,) squared distances of (b, 3, 3) rotations as matrices: smooth and bounded, 8 at half a turn."""
    return (first - second).square().sum((1, 2))


@dataclass(frozen=True)
class Truth:
    """(b, 3, 3) rotations and (b, 2) shifts in pixels of images that were made."""

    rotations: Tensor
    shifts_px: Tensor

    def of(self, rows: Tensor) -> Truth:
        """Those of some images."""
        return Truth(self.rotations[rows], self.shifts_px[rows])


def seen_samples(training: Training, context: Context, rows: Tensor) -> WhiteImages:
    """Some images as far as the encoder sees."""
    reach = pose_encoder_sizes(context).radius_px
    return white_images(context.cache, rows, reach, training.noise_variance)


def made_images(
    training: Training, images: WhiteImages, context: Context, draws: torch.Generator
) -> tuple[WhiteImages, Truth]:
    """Views of the volume of the moment in random poses, with the CTFs of some images and new noise."""
    count, device, config = len(images.samples), context.device, context.config
    extent = config.shift_extent_px * images.box_px / 64
    rotations = random_rotations(count, draws)
    shifts = (2 * torch.rand(count, 2, generator=draws) - 1) * extent
    latents = torch.randn(count, config.latents, generator=draws)
    noise = torch.randn(2, *images.samples.shape, generator=draws) * 0.5**0.5
    truth, latents = Truth(*to_device((rotations, shifts), device)), latents.to(device)
    with torch.no_grad():
        slices = training.networks.decoder.slices(truth.rotations, images.frequencies, latents)
    clean = replace(images, samples=images.transfer * slices).centred(-truth.shifts_px)
    return replace(images, samples=clean + torch.complex(*noise).to(device)), truth


def made_loss(training: Training, seen: Shown, truth: Truth) -> Tensor:
    """How far the encoder's answers about made images are from what they were made with.

    Of the copies of an image the nearest answer counts, as the best fitting one does for images: the network
    is free to know only some of the turns.
    """
    posing, (copies, count) = training.networks.posing, seen.views.shape[:2]
    with torch.no_grad():
        answers = every_answer(training, seen).rotations
        chords = squared_chords(answers, truth.rotations.repeat(copies, 1, 1)).view(copies, count)
    views, turns = seen.picked(chords.argmin(0))
    found = turned_back(posing(views), turns)
    off = squared_chords(found.rotations, truth.rotations)
    off = off + (found.shifts_px - truth.shifts_px).square().sum(1) / posing.shift_unit_px**2 / 8
    # Of latents nothing is asked: while the volume is the same for all, the answer would be none.
    return off.mean()


def pass_batches(context: Context, number: int, size: int) -> Iterator[tuple[float, Tensor]]:
    """Progress of the pass and rows of each of its steps: every image that is learnt from, at least once."""
    learning = learning_rows(context)
    rounds = range(max(1, -(-context.config.encoder_images // len(learning))))
    orders = [shuffled(context, _ORDER, number, again, among=learning) for again in rounds]
    parts = [part for order in orders for part in order.split(size)]
    for step, rows in enumerate(parts):
        yield step / len(parts), rows


def encoder_batch(config: EngineConfig) -> int:
    """Images per step: an encoder learns by steps, so a grid's batches are half as large as for a table."""
    return config.batch or min(BATCHES[config.decoder], BATCHES["grid"] // 2)


def progress_of(context: Context, passes: float) -> float:
    """How much of the encoder's training is done after so many passes, those on views alone among them."""
    return passes / (context.config.epochs + self_passes(context.config))


def self_passes(config: EngineConfig) -> int:
    """Passes in which the encoder learns from views of the first volume alone, where there is one."""
    return config.self_passes if config.self_images and config.first_volume == "starts" else 0


def self_pass(state: RunState, context: Context) -> RunState:
    """The encoder trained on views of the volume, which stays as it is: images would spoil it at first."""
    training, config, off = resumed(state, context), context.config, 0.0
    draws = context.generator(_DRAWS, 0, state.passes)
    size = encoder_batch(config)
    # The volume is transformed once for many views: that costs as much as a step.
    for fraction, rows in pass_batches(context, state.passes, STEPS_AT_ONCE * size):
        made, truth = made_images(training, seen_samples(training, context, rows), context, draws)
        seen = shown(made, training, context)
        rate = learning_rate(config.learning_rate, progress_of(context, state.passes + fraction))
        for part in torch.arange(len(rows), device=context.device).split(size):
            loss = made_loss(training, seen.of(part), truth.of(part))
            descend(training, loss, rate)
            off = loss.item()
        context.progress(fraction)
    record = {"radius_px": training.radius_px, "misfit": off}
    return replace(state, kept=kept_after(state, training), history=(*state.history, record))


def encoding_pass(state: RunState, context: Context) -> RunState:
    """Volume and encoder trained on images and on views of the volume; then the poses of all images."""
    training, config = resumed(state, context), context.config
    alone = self_passes(config)
    draws = context.generator(_DRAWS, 1, state.passes)
    radius = training.radius_px
    for fraction, rows in pass_batches(context, alone + state.passes, encoder_batch(config)):
        done = (state.passes + fraction) / config.epochs
        radius = marching_radius(config, training.radius_px, done)
        images = white_images(context.cache, rows, training.radius_px, training.noise_variance)
        seen = shown(images, training, context)
        beta = divergence_weight(config, done)
        loss = image_loss(training, seen, images.within(radius), beta, draws)
        if config.self_images:
            made, truth = made_images(training, seen_samples(training, context, rows), context, draws)
            loss = loss + config.self_images * made_loss(training, shown(made, training, context), truth)
        passed = progress_of(context, alone + state.passes + fraction)
        descend(training, loss, learning_rate(config.learning_rate, passed))
        context.progress(0.9 * fraction)
    poses, _ = encoded_set(training, context, radius)
    moved = with_poses(state, context, training, poses)
    record = told_of(moved, training, poses) | {"radius_px": radius}
    return replace(moved, kept=kept_after(moved, training), history=(*state.history, record))


@torch.no_grad()
def encoded_set(training: Training, context: Context, radius_px: int) -> tuple[BankPoses, LatentPosterior]:
    """What the encoder says of every image: pose, log likelihood within a radius, and latent."""
    answers, scores = [], []
    for rows in torch.arange(len(context.cache), device=context.device).split(_ROWS_AT_ONCE):
        images = white_images(context.cache, rows, training.radius_px, training.noise_variance)
        judged = images.within(radius_px)
        _, best, off = best_copies(training, shown(images, training, context), judged)
        answers.append(best)
        scores.append(judged.samples.abs().square().sum(1) - off)
    rotations = torch.cat([best.rotations for best in answers])
    shifts = torch.cat([best.shifts_px for best in answers])
    numbers = [latent_numbers(best) for best in answers]
    means = torch.cat([mean for mean, _ in numbers])
    spreads = torch.cat([log_variance.exp() for _, log_variance in numbers])
    return BankPoses(rotations, shifts, torch.cat(scores)), LatentPosterior(means, torch.diag_embed(spreads))


def polish_pass(state: RunState, context: Context) -> RunState:
    """Gradients on poses, latents and volume from where the encoder has put them; it takes no more part."""
    if "latents" not in state.kept["trained"]:
        training = resumed(state, context)
        _, posterior = encoded_set(training, context, training.radius_px)
        count, width = posterior.means.shape
        moments = no_moments(count, width, context.device)
        table = kept_latents(LatentTable(posterior.means, moments))
        state = replace(state, kept={**state.kept, "trained": state.kept["trained"] | table})
    config = context.config
    # An encoder's poses are as far off as its network is small, those of a search no further than its step.
    descent = Descent(config.polish_epochs, POLISHING * config.pose_learning_rate, marches=True)
    return gradient_pass(state, context, descent)


def embed_pass(state: RunState, context: Context) -> RunState:
    """Latents of all images from the encoder."""
    training = resumed(state, context)
    _, posterior = encoded_set(training, context, training.radius_px)
    moved = with_latents(state, posterior, training) if context.config.latents else state
    return replace(moved, history=(*state.history, {"radius_px": training.radius_px}))

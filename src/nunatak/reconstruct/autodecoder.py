"""Passes of autodecoders: a table of poses and a table of latents, and no encoder: cryoDRGN-AI.

Pretraining on random poses, epochs of hierarchical search, then gradients on poses, latents and volume
together (Levy et al. 2025). Where the original searches with its network, here a bank stands for it, made
anew after so many images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nunatak.geometry.rotations import geodesic_deg
from nunatak.latent.subspace import LatentPosterior
from nunatak.reconstruct.autoencoder import images_of, posed, shuffled, with_latents
from nunatak.reconstruct.bank_search import BankConfig, BankPoses, bank_for, search_with_bank
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.first_volume import pretrained
from nunatak.reconstruct.model import Model
from nunatak.reconstruct.neural_model import (
    MARCH,
    Training,
    batch_size,
    descend,
    divergence_weight,
    kept_after,
    learning_rate,
    marching_radius,
    resumed,
    started,
)
from nunatak.reconstruct.neural_views import misfit
from nunatak.reconstruct.searching import hierarchical_config
from nunatak.reconstruct.starts import learning_rows
from nunatak.reconstruct.state import Context, RunState
from nunatak.search.candidates import without_deviation
from nunatak.search.lazy_adam import RowMoments, no_moments, unshared, visit
from nunatak.search.pose_table import PoseTable, move_poses, pose_leaves, pose_table

LATENT_SD = 0.1
"""Of the latents before they have met an image, as published."""
_LATENTS, _ORDER = 35, 37
# A network takes a second to rasterise at each of a bank's latents, a grid nothing.
BANKS_PER_EPOCH = {"network": 4, "grid": 16}
LEAST_IMAGES_PER_BANK = 100
SEARCH_EPOCHS = 30
"""At most: a small set would be searched hundreds of times for the published number of images."""


@dataclass(frozen=True)
class LatentTable:
    """(n, q) latents, and the moments of their gradients."""

    latents: Tensor
    moments: RowMoments


def _row_moments(kept: dict[str, Tensor]) -> RowMoments:
    return RowMoments(kept["first"], kept["second"], kept["visits"])


def _as_kept(moments: RowMoments) -> dict[str, Tensor]:
    return {"first": moments.first, "second": moments.second, "visits": moments.visits}


def latent_table(state: RunState) -> LatentTable:
    """The latents as the last pass left them, to be changed."""
    kept = state.kept["trained"]
    return LatentTable(kept["latents"].clone(), unshared(_row_moments(kept["latent_moments"])))


def kept_latents(table: LatentTable) -> dict[str, Any]:
    """What of a latent table is kept between passes."""
    return {"latents": table.latents, "latent_moments": _as_kept(table.moments)}


def latent_leaves(table: LatentTable, rows: Tensor) -> Tensor:
    """(b, q) latents of some rows, to be differentiated."""
    return table.latents[rows].clone().requires_grad_()


def move_latents(table: LatentTable, rows: Tensor, leaves: Tensor, rate: float) -> None:
    """Step down the gradients that leaves hold; rows of the table are changed in place."""
    if leaves.grad is not None and leaves.shape[1]:
        table.latents[rows] += visit(table.moments, rows, leaves.grad, rate)


def pretrain_pass(state: RunState, context: Context) -> RunState:
    """The first volume alone."""
    table = drawn_table(context)
    trained = started(context, context.noise_variance, with_encoder=False) | kept_latents(table)
    return pretrained(replace(state, kept={**state.kept, "trained": trained}), context, table.latents)


def drawn_table(context: Context) -> LatentTable:
    """Latents that have not met an image."""
    count, width, device = len(context.cache), context.config.latents, context.device
    drawn = torch.randn(count, width, generator=context.generator(_LATENTS)).to(device)
    return LatentTable(LATENT_SD * drawn, no_moments(count, width, device))


def search_epochs(config: EngineConfig, images: int) -> int:
    """Epochs of pose search: as many as the images to search make, two at least."""
    return max(2, -(-config.search_images // max(images, 1)))


@dataclass(frozen=True)
class SearchSteps:
    """What an epoch of pose search does with some rows.

    Attributes
    ----------
    latents : function of (k,) rows
        Their (k, q) latents.
    train : function of (b,) rows, their poses and a radius
        A step of what is trained, at the rotations and shifts found, inside a Fourier radius.
    radius_px : function of a fraction of the epoch
        How far search and training look.
    """

    latents: Callable[[Tensor], Tensor]
    train: Callable[[Tensor, tuple[Tensor, Tensor], int], None]
    radius_px: Callable[[float], int]


def search_epoch(training: Training, context: Context, order: Tensor, steps: SearchSteps) -> BankPoses:
    """Bank, search and training in turns, until every image was searched once.

    Held-out images are searched and not trained on: they are to tell whether there is a structure.
    """
    count, device = len(context.cache), context.device
    learning = torch.zeros(count, dtype=torch.bool, device=device)
    learning[learning_rows(context)] = True
    poses = BankPoses(
        torch.zeros(count, 3, 3, device=device),
        torch.zeros(count, 2, device=device),
        torch.zeros(count, device=device),
    )
    done = 0
    at_once = max(-(-count // BANKS_PER_EPOCH[context.config.decoder]), LEAST_IMAGES_PER_BANK)
    for rows in order.split(at_once):
        radius = steps.radius_px(done / count)
        found = search_rows(training, context, rows, steps.latents(rows), radius)
        poses.rotations[rows], poses.shifts_px[rows] = found.rotations, found.shifts_px
        poses.scores[rows] = found.scores
        learnt = torch.nonzero(learning[rows]).flatten()
        for part in learnt.split(batch_size(context, training.networks)):
            steps.train(rows[part], (found.rotations[part], found.shifts_px[part]), radius)
        done += len(rows)
        context.progress(done / count)
    return poses


def search_pass(state: RunState, context: Context) -> RunState:
    """One epoch of pose search with the latents of the table."""
    training, table, config = resumed(state, context), latent_table(state), context.config
    epochs = min(SEARCH_EPOCHS, search_epochs(config, len(context.cache)))

    def train(rows: Tensor, poses: tuple[Tensor, Tensor], radius_px: int) -> None:
        step_at_held_poses(training, context, table, (rows, radius_px), poses, config.learning_rate)

    def radius(fraction: float) -> int:
        return marching_radius(config, training.radius_px, (state.passes + fraction) / epochs)

    steps = SearchSteps(lambda rows: table.latents[rows], train, radius)
    poses = search_epoch(training, context, shuffled(context, _ORDER, 0, state.passes), steps)
    moved = with_poses(state, context, training, poses)
    kept = kept_after(moved, training, **kept_latents(table))
    record = told_of(moved, training, poses) | {"radius_px": radius(1.0)}
    return replace(moved, kept=kept, history=(*state.history, record))


def told_of(state: RunState, training: Training, poses: BankPoses) -> dict[str, Any]:
    """The record of a pass that has moved poses."""
    return {
        "radius_px": training.radius_px,
        "log_evidence": float(poses.scores.mean()),
        "pose_change_deg": state.pose_change_deg,
    }


def search_rows(
    training: Training, context: Context, rows: Tensor, latents: Tensor, radius_px: int
) -> BankPoses:
    """Poses of some images by the volumes of their latents, up to a Fourier radius."""
    config, cache = context.config, context.cache
    search = hierarchical_config(config, radius_px, cache.plane.box_px)
    closeness = BankConfig(config.bank_latents, config.bank_rank, config.bank_cell)
    bank = bank_for(training.networks.decoder, latents, search.l_end, closeness)
    return search_with_bank(bank, cache, rows, training.noise_variance, (search, closeness))


def step_at_held_poses(
    training: Training,
    context: Context,
    table: LatentTable,
    where: tuple[Tensor, int],
    poses: tuple[Tensor, Tensor],
    rate: float,
) -> Tensor:
    """One step of some images' latents and of the volume; (b,) log likelihoods against noise before it.

    Parameters
    ----------
    where : (b,) rows and a Fourier radius
    rate : float
        Of the networks; latents keep their ratio to it.
    """
    config = context.config
    rows, radius_px = where
    images, leaves = images_of(training, context, rows).within(radius_px), latent_leaves(table, rows)
    slices = training.networks.decoder.slices(poses[0], images.frequencies, leaves)
    off = misfit(images.centred(poses[1]), images.transfer, slices)
    loss = off + 0.5 * divergence_weight(config) * leaves.square().sum(1)
    # Mean for the networks; a row's step does not depend on the scale of its gradient.
    descend(training, loss.mean(), rate)
    move_latents(table, rows, leaves, config.latent_learning_rate * rate / config.learning_rate)
    return (images.samples.abs().square().sum(1) - off).detach()


def held_pass(state: RunState, context: Context) -> RunState:
    """One epoch of latents and volume at the poses that the model holds."""
    config, own = context.config, state.oriented.candidates
    if "trained" not in state.kept:
        model = state.oriented
        trained = started(context, model.noise_variance, False, model.maps[:, 0].mean(0))
        kept = {**state.kept, "trained": trained | kept_latents(drawn_table(context))}
        state = replace(state, kept=kept)
    training, table = resumed(state, context), latent_table(state)
    batches = shuffled(context, _ORDER, 2, state.passes).split(batch_size(context, training.networks))
    evidence = 0.0
    for step, rows in enumerate(batches):
        rate = learning_rate(config.learning_rate, (state.passes + step / len(batches)) / config.epochs)
        held = own.rotations[rows], own.shifts_px[rows]
        scores = step_at_held_poses(training, context, table, (rows, training.radius_px), held, rate)
        evidence += float(scores.sum()) / len(context.cache)
        context.progress((step + 1) / len(batches))
    record = {"radius_px": training.radius_px, "log_evidence": evidence}
    kept = kept_after(state, training, **kept_latents(table))
    return replace(state, kept=kept, history=(*state.history, record))


def with_poses(state: RunState, context: Context, training: Training, poses: BankPoses) -> RunState:
    """The state with a model that has these poses; its maps are the last pass' to make."""
    if state.model is None:
        zero = poses.scores.new_zeros
        count = len(poses.scores)
        model = Model(
            zero(1, 1, 8, 8, 8),
            training.radius_px,
            zero(1, 4),
            without_deviation(poses.rotations, poses.shifts_px),
            zero(count, 0, 0),
            training.noise_variance,
            context.halves,
            poses.scores,
        )
        return replace(state, model=model)
    before = state.model.candidates.rotations
    change = float(geodesic_deg(before, poses.rotations).median())
    model = posed(state.model, poses.rotations, poses.shifts_px)
    return replace(state, model=replace(model, log_evidence=poses.scores), pose_change_deg=change)


def pose_table_of(state: RunState) -> PoseTable:
    """The poses of the model, with the moments that passes have gathered; to be changed."""
    own = state.oriented.candidates
    kept = state.kept["trained"].get("pose_moments")
    table = pose_table(own.rotations, own.shifts_px)
    if kept is not None:
        moments = _row_moments(kept["turning"]), _row_moments(kept["shifting"])
        table = PoseTable(own.rotations, own.shifts_px, *moments)
    return table.unshared()


@dataclass(frozen=True)
class Descent:
    """How gradients move poses.

    Attributes
    ----------
    epochs : int
    turn_rate : float
        Of rotations at the first visit, in radians.
    marches : bool
        From l_start to the full radius in the first part: for poses that are far off.
    """

    epochs: int
    turn_rate: float
    marches: bool = False

    def radius_px(self, config: EngineConfig, full_px: int, progress: float) -> int:
        """Fourier radius of the misfit."""
        if not self.marches:
            return full_px
        start = min(config.l_start, full_px)
        return round(start + (full_px - start) * min(1.0, progress / MARCH))


def gradient_pass(state: RunState, context: Context, descent: Descent | None = None) -> RunState:
    """One epoch of gradients on poses, latents and volume together.

    Parameters
    ----------
    descent : Descent, optional
        As many epochs and as fast as the configuration says, by default.
    """
    config, count = context.config, len(context.cache)
    descent = descent or Descent(config.epochs, config.pose_learning_rate)
    training, table, poses = resumed(state, context), latent_table(state), pose_table_of(state)
    scores = torch.zeros(count, device=context.device)
    batches = shuffled(context, _ORDER, 1, state.passes).split(batch_size(context, training.networks))
    for step, rows in enumerate(batches):
        done = (state.passes + step / len(batches)) / descent.epochs
        scores[rows] = refine_rows(training, context, (poses, table), rows, (descent, done))
        context.progress((step + 1) / len(batches))
    found = BankPoses(poses.rotations, poses.shifts_px, scores)
    moved = with_poses(state, context, training, found)
    pose_moments = {"turning": _as_kept(poses.turning), "shifting": _as_kept(poses.shifting)}
    kept = kept_after(moved, training, pose_moments=pose_moments, **kept_latents(table))
    return replace(moved, kept=kept, history=(*state.history, told_of(moved, training, found)))


def refine_rows(
    training: Training,
    context: Context,
    tables: tuple[PoseTable, LatentTable],
    rows: Tensor,
    descent: tuple[Descent, float],
) -> Tensor:
    """One step of some images' poses and latents and of the volume; (b,) log likelihoods before it.

    Parameters
    ----------
    descent : and its progress, 0 to 1
    """
    config, (how, progress) = context.config, descent
    poses, table = tables
    images, leaves, turned = (
        images_of(training, context, rows).within(how.radius_px(config, training.radius_px, progress)),
        latent_leaves(table, rows),
        pose_leaves(poses, rows),
    )
    centred = images.centred(turned.shifts_px)
    slices = training.networks.decoder.slices(turned.rotations, images.frequencies, leaves)
    off = misfit(centred, images.transfer, slices)
    loss = off + 0.5 * divergence_weight(config) * leaves.square().sum(1)
    descend(training, loss.mean(), learning_rate(config.learning_rate, progress))
    turn = learning_rate(how.turn_rate, progress)
    # A turn moves what lies a quarter of a box from the centre by as much as this shift.
    shift = turn * 0.25 * images.box_px
    move_poses(poses, rows, turned, (turn, shift))
    move_latents(table, rows, leaves, learning_rate(config.latent_learning_rate, progress))
    return (images.samples.abs().square().sum(1) - off).detach()


def table_pass(state: RunState, context: Context) -> RunState:
    """Latents from the table, in the gauge of convention 10."""
    training, table = resumed(state, context), latent_table(state)
    width = table.latents.shape[1]
    # A table has no error bars of its own.
    covariances = table.latents.new_zeros(len(table.latents), width, width)
    record = {"radius_px": training.radius_px}
    if width:
        state = with_latents(state, LatentPosterior(table.latents, covariances), training)
    return replace(state, history=(*state.history, record))

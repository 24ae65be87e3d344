"""From the winning start to a pose for every particle; and whether there is a structure at all."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nunatak.core.gathered import Gathered
from nunatak.geometry.so3_grid import tangent_offsets
from nunatak.projection.gridding import block_from_maps
from nunatak.reconstruct.consensus import ConsensusState, expect, radius_at
from nunatak.reconstruct.model import Model, SearchPlan
from nunatak.reconstruct.model import expect as search_locally
from nunatak.reconstruct.starts import held_out_evidence, spherical_average, winner
from nunatak.reconstruct.state import Context, Outcome, RunState
from nunatak.search.candidates import without_deviation
from nunatak.search.local import LocalPrior
from nunatak.search.marginal import TrialShifts, mass_near, trial_shifts
from nunatak.search.slice_bank import SliceBank, scoring_dtype, slice_bank
from nunatak.volumes.maps import change_box


def structure_gain(start: ConsensusState, context: Context) -> tuple[float, float]:
    """Evidence per held-out image that the map wins over its own spherical average, and its standard error.

    Noise aligned to noise makes a map too, but one that says nothing about images it has not seen
    (Balanov, Huleihel & Bendory 2024); and ice or a halo around the particle is spherical on average.
    """
    images, config = context.polar, context.consensus
    own = held_out_evidence(start, images, config, context.held_out)
    round_map = replace(start, maps=spherical_average(start.maps))
    gain = own - held_out_evidence(round_map, images, config, context.held_out)
    error = float(gain.std()) / len(gain) ** 0.5 if len(gain) > 1 else float("inf")
    return float(gain.mean()), error


def is_structure(gain: float, error: float) -> bool:
    """Whether a structure's gain is beyond chance and beyond what its error leaves open."""
    return gain > max(1.0, 4 * error)


def orient_pass(state: RunState, context: Context) -> RunState:
    """Search every particle over the whole grid with the winner's map, then locally; or find no structure."""
    start, label = winner(state)
    gain, error = structure_gain(start, context)
    left_out = 1 - float(context.sound.float().mean())
    record = {"restart": label, "structure_gain": gain, "structure_gain_error": error, "left_out": left_out}
    if not is_structure(gain, error):
        found = replace(state, history=(*state.history, record), outcome=Outcome.NO_STRUCTURE)
        return replace(found, model=global_search(start, context))
    model = global_search(start, context)
    radius = max(4, start_radius(context) - 2)
    plan = SearchPlan(radius, tangent_offsets(7.5), 3, local_prior(context, start.shift_sd_px))
    moved, _ = search_locally(
        model, context.cache, plan, lambda done: context.progress(0.5 + 0.5 * done / len(context.cache))
    )
    against_noise = pure_noise_objective(context, moved.noise_variance, radius)
    record["log_evidence"] = float(moved.log_evidence.mean()) + against_noise
    return replace(
        state, model=moved, starts=(start,), start_labels=(label,), history=(*state.history, record)
    )


def pure_noise_objective(context: Context, noise_variance: Tensor, radius_px: int) -> float:
    """Mean over images of sum |y|^2 / sigma^2 inside a radius: minus the log likelihood of noise alone."""
    shells = slice(1, radius_px + 1)
    counts = torch.bincount(context.cache.plane.shells, minlength=len(noise_variance))
    return float((context.image_power * counts / noise_variance)[shells].sum())


def start_radius(context: Context) -> int:
    """Fourier radius of the consensus map."""
    return context.consensus.radius_end_px


def local_prior(context: Context, shift_sd_px: float, latent: bool = True) -> LocalPrior:
    """Priors of local searches."""
    return LocalPrior(shift_sd_px=max(shift_sd_px, 1.0), scale_sd=context.config.contrast_sd, latent=latent)


def global_search(start: ConsensusState, context: Context) -> Model:
    """A model whose poses are each particle's best on the grid."""
    images, count = context.polar, len(context.cache)
    radius = radius_at(start.update, context.consensus)
    gathered, done = Gathered(len(context.cache.samples)), 0
    every = torch.arange(count, device=context.device)
    for part, found, _ in expect(start, images, every, radius):
        gathered.put(images.share.local(part), found.best_pose, found.best_shift, found.log_evidence)
        done += len(part) * images.share.size
        context.progress(0.5 * min(done / count, 1.0))
    pose, shift, log_evidence = images.share.joined(gathered.columns())
    candidates = without_deviation(images.grid.rotations()[pose], images.shifts_px[shift])
    return Model(
        start.maps[None],
        context.consensus.radius_end_px,
        start.maps.new_zeros(1, start.maps.shape[-1] // 2),
        candidates,
        start.maps.new_zeros(count, 0, 0),
        context.noise_variance,
        context.halves,
        log_evidence,
        context.sound,
    )


def mean_bank(model: Model, context: Context, radius_px: int) -> tuple[SliceBank, TrialShifts]:
    """What the grid is searched with once particles have poses: the mean map, and shifts spread as theirs."""
    images = context.polar
    plane = images.plane.within(radius_px)
    maps = change_box(model.maps[:, 0].mean(0, keepdim=True), images.box_px)
    bank = slice_bank(block_from_maps(maps, radius_px), images.grid, plane, scoring_dtype(maps.device))
    phases = images.phases[:, : len(plane)].contiguous()
    return bank, trial_shifts(images.shifts_px, phases, float(model.candidates.shifts_px.std()) + 0.5)


def confidence_by_class(model: Model, classes: Tensor, context: Context) -> tuple[Tensor, Tensor]:
    """pose_confidence of every particle with the map of its own class.

    Parameters
    ----------
    classes : (n,) int64
        Classes are places in the latent space: that of a class is the mean of its particles' latents.
    """
    mass = torch.zeros(len(classes), device=context.device)
    evidence = torch.zeros_like(mass)
    for number in classes.unique().tolist():
        rows = torch.nonzero(classes == number).flatten()
        place = model.candidates.latents[rows].mean(0)
        own = model.maps[:, 0] + torch.einsum("q,hqzyx->hzyx", place, model.maps[:, 1:])
        mass[rows], evidence[rows] = pose_confidence(replace(model, maps=own[:, None]), context, rows=rows)
    return mass, evidence


def pose_confidence(
    model: Model, context: Context, within_deg: float = 20.0, rows: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(k,) posterior mass near the poses of some particles, or all, and (k,) log evidence against pure noise.

    Over the whole grid of the global search, with the mean map: the probability, among all orientations, of
    those within an angle of the reported one.
    """
    images = context.polar
    rows = torch.arange(len(context.cache), device=context.device) if rows is None else rows
    count, radius = len(rows), start_radius(context)
    bank, trials = mean_bank(model, context, radius)
    own, done = torch.empty(2, len(images.share.mine(rows)), device=context.device), 0
    for part in images.share.tiles(rows, images.at_once):
        turns = model.candidates.rotations[part]
        found = mass_near(bank, images.batch(part, radius), trials, turns, within_deg)
        own[:, done : done + len(part)] = torch.stack(found)
        done += len(part)
        context.progress(min(done * images.share.size / count, 1.0))
    return images.share.joined((own[0], own[1]))

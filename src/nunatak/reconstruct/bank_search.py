"""Pose search with a trained volume through a shared bank: the volume is never evaluated at a pose.

The volume is rasterised at a few latents and compressed (nunatak.volumes.bank); images whose volumes are
nearly the same share one map and one hierarchical search. reference_search evaluates the volume itself at
every pose of every image, as the published programs do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nunatak.core.device import to_device
from nunatak.core.fourier import half_plane
from nunatak.geometry.so3_grid import cell_rotations, child_cells
from nunatak.latent.cells import balanced_cells
from nunatak.particles.cache import ImageCache
from nunatak.projection.gridding import block_from_maps
from nunatak.reconstruct.model import images_within
from nunatak.search.candidates import Candidates, ImageSamples
from nunatak.search.hierarchical import (
    HierarchicalConfig,
    KeptPoses,
    hierarchical_search,
    polar_batch,
    shift_axis,
)
from nunatak.search.local import LocalPrior, LocalSearch
from nunatak.search.marching import frequency_march
from nunatak.volumes.bank import VolumeBank, bank_coordinates, volume_bank
from nunatak.volumes.field import VolumeField


@dataclass(frozen=True)
class BankConfig:
    """How closely a bank stands for a volume.

    Attributes
    ----------
    latents : int
        At which the volume is rasterised.
    rank : int
        Components kept.
    cell : int
        Images that share a map at most.
    polish : int
        Gauss-Newton steps from the best of the kept poses, with every image's own mixture of the bank.
    """

    latents: int = 32
    rank: int = 12
    cell: int = 64
    polish: int = 2


@dataclass(frozen=True)
class BankPoses:
    """(n, 3, 3) rotations, (n, 2) shifts in pixels and (n,) log likelihoods against pure noise."""

    rotations: Tensor
    shifts_px: Tensor
    scores: Tensor


def bank_for(
    field: VolumeField, latents: Tensor, radius_px: int, config: BankConfig
) -> tuple[VolumeBank, Tensor]:
    """A bank for the volumes of (n, q) latents, and their (n, k) coordinates in it."""
    groups = balanced_cells(latents, max(1, math.ceil(len(latents) / config.latents)))
    centres = torch.stack([latents[rows].mean(0) for rows in groups])
    bank = volume_bank(field, centres, radius_px, config.rank)
    return bank, bank_coordinates(bank, field, latents)


def search_with_bank(
    bank: tuple[VolumeBank, Tensor],
    cache: ImageCache,
    rows: Tensor,
    noise_variance: Tensor,
    configs: tuple[HierarchicalConfig, BankConfig],
    progress: Callable[[int], None] = lambda done: None,
) -> BankPoses:
    """Poses of some images: hierarchical search with the map of their cell, then with their own mixtures.

    All images of a cell are searched with one map. What that leaves out is made good at the end: the kept
    poses are compared with each image's own volume in the bank, and the best is improved off the grid.

    Parameters
    ----------
    bank : with the (k, rank) coordinates of the images, from bank_for
    rows : (k,) int64
        Of the cache.
    """
    search, config = configs
    shared, coordinates = bank
    found: list[tuple[Tensor, BankPoses]] = []
    weights = 2 / noise_variance
    plane = to_device(search.plane, rows.device)
    mixtures = block_from_maps(shared.maps, shared.radius_px)
    done = 0
    for cell in balanced_cells(coordinates, config.cell):
        block = block_from_maps(shared.at(coordinates[cell].mean(0))[None], shared.radius_px)
        images = images_within(cache, rows[cell], shared.radius_px)
        some = replace(cache, samples=cache.samples[rows[cell]], optics=_optics(cache, rows[cell]))
        polar = polar_batch(images, some.transfer_at(plane.frequencies), weights, search)
        kept = hierarchical_search(block, images, polar, weights, search)
        polisher = LocalSearch(mixtures, images, weights, LocalPrior(shift_sd_px=1e3, latent=False))
        found.append(
            (cell, _polished(polisher, kept, coordinates[cell], _power(images, weights), config.polish))
        )
        done += len(cell)
        progress(done)
    order = torch.argsort(torch.cat([cell for cell, _ in found]))
    return BankPoses(
        torch.cat([poses.rotations for _, poses in found])[order],
        torch.cat([poses.shifts_px for _, poses in found])[order],
        torch.cat([poses.scores for _, poses in found])[order],
    )


def _polished(
    search: LocalSearch, kept: KeptPoses, coordinates: Tensor, power: Tensor, iterations: int
) -> BankPoses:
    """The best of the kept poses by each image's own mixture, after some steps off the grid."""
    count, poses = kept.scores.shape
    every = torch.arange(count, device=coordinates.device)
    latents = coordinates.repeat_interleave(poses, 0)
    rotations, shifts = kept.rotations.flatten(0, 1), kept.shifts_px.flatten(0, 1)
    ones = kept.scores.new_ones(count * poses)
    tried = Candidates(rotations, shifts, ones, latents, every.repeat_interleave(poses))
    best = search.evaluate(tried).objective.view(count, poses).argmin(1) + every * poses
    fit = search.refine(tried[best], iterations)
    return BankPoses(fit.candidates.rotations, fit.candidates.shifts_px, power - fit.objective)


def _power(images: ImageSamples, weights: Tensor) -> Tensor:
    """(b,) minus the log likelihood of noise alone."""
    return 0.5 * (images.samples.abs().square() * weights[images.plane.shells]).sum(1)


def _optics(cache: ImageCache, rows: Tensor):  # type: ignore[no-untyped-def]
    return None if cache.optics is None else cache.optics[rows]


@torch.no_grad()
def reference_search(
    field: VolumeField,
    latents: Tensor,
    images: ImageSamples,
    noise_variance: Tensor,
    config: HierarchicalConfig,
) -> BankPoses:
    """The same search with the volume evaluated at each image's latent and at every pose: the slow reference.

    Memory in proportion to the poses of the coarse grid.
    """
    found = [
        _search_one(field, latents[i : i + 1], ImageSamples(*part, images.plane), noise_variance, config)
        for i, part in enumerate(zip(images.samples.split(1), images.transfer.split(1), strict=True))
    ]
    rotations, shifts, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
    return BankPoses(rotations, shifts, scores)


def _search_one(
    field: VolumeField,
    latent: Tensor,
    image: ImageSamples,
    noise_variance: Tensor,
    config: HierarchicalConfig,
) -> tuple[Tensor, Tensor, Tensor]:
    device, order = latent.device, config.base_healpy
    shape = torch.arange(12 * 4**order, device=device), torch.arange(6 * 2**order, device=device)
    pixels, turns = (part.flatten() for part in torch.meshgrid(*shape, indexing="ij"))
    centre = torch.tensor([config.t_x_shift, config.t_y_shift], device=device)
    shifts, scores = centre.expand(len(pixels), 2), latent.new_zeros(0)
    for level, radius in enumerate(
        frequency_march(config.l_start, config.l_end, config.n_iter, config.schedule)
    ):
        if level:
            best = scores.topk(config.n_kept_poses).indices
            pixels, turns = child_cells(pixels[best], turns[best])
            shifts = shifts[best].repeat_interleave(pixels.shape[1], 0)
            pixels, turns = pixels.flatten(), turns.flatten()
        rotations = cell_rotations(order, order + level, pixels, turns)
        offsets = shift_axis(config, level).to(latent)
        scores, moved = _score_poses(
            field, latent, image, noise_variance, (rotations, shifts, radius, offsets)
        )
        shifts = moved
    best = scores.argmax()
    return rotations[best][None], shifts[best][None], scores[best][None]


def _score_poses(
    field: VolumeField,
    latent: Tensor,
    image: ImageSamples,
    noise_variance: Tensor,
    poses: tuple[Tensor, Tensor, int, Tensor],
) -> tuple[Tensor, Tensor]:
    """(p,) scores at the best trial shift of each of (p, 3, 3) rotations, and that (p, 2) shift."""
    rotations, centres, radius, offsets = poses
    plane = half_plane(image.plane.box_px, min(radius, image.plane.radius_px))
    count, frequencies = len(plane), plane.frequencies.to(latent)
    weights = 2 / noise_variance[plane.shells.to(latent.device)]
    slices = field.slices(rotations, frequencies, latent.expand(len(rotations), -1))
    trials = torch.cartesian_prod(offsets, offsets).view(-1, 2)
    angle = -2 * math.pi / image.plane.box_px
    weighted = image.samples[:, :count] * image.transfer[:, :count] * weights
    centred = weighted * _phases(centres @ frequencies.T * angle)
    cross = ((centred * slices.conj()) @ _phases(trials @ frequencies.T * angle).T).real
    norm = (image.transfer[:, :count] ** 2 * weights * slices.abs() ** 2).sum(1)
    best, place = cross.max(1)
    return best - 0.5 * norm, centres + trials[place]


def _phases(angle: Tensor) -> Tensor:
    return torch.polar(torch.ones_like(angle), angle)

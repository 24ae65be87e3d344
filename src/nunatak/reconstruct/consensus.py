"""One map from nothing: stochastic expectation-maximisation over the whole pose grid from a random start.

Small batches, old sums forgotten by a constant factor, a radius that grows, and a weak prior: with large
batches, too low a radius or a stiff prior a random start stays a sphere (docs/decisions/0002).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nunatak.core.device import to_device
from nunatak.core.fourier import half_plane
from nunatak.geometry.rotations import random_rotations
from nunatak.geometry.so3_grid import RotationGrid, rotation_grid, shift_disk
from nunatak.particles.cache import ImageCache
from nunatak.projection.gridding import block_from_maps
from nunatak.projection.operator import insert_block
from nunatak.search.marginal import ImageBatch, marginal_step, shift_phases, trial_shifts
from nunatak.search.marginal_sums import MarginalSums
from nunatak.search.polar import PolarPlane, polar_plane, polar_samples, polar_transform
from nunatak.search.slice_bank import scoring_dtype, slice_bank
from nunatak.volumes.maps import soft_sphere, working_box
from nunatak.volumes.wiener import FourierSums, empty_sums, relative_ridge, solve_maps


@dataclass(frozen=True)
class ConsensusConfig:
    """How a consensus map is grown; frequencies in Fourier pixels, shifts in pixels of the particles' box."""

    radius_start_px: int = 10
    radius_end_px: int = 20
    healpix_order: int = 2
    march_updates: int = 72
    batch: int = 200
    decay: float = 0.85
    ridge_fraction: float = 0.03
    shift_extent_px: float = 4.5
    shift_step_px: float = 1.5
    mask_radius_fraction: float = 0.42
    hard: bool = False
    annealed: bool = True


# Of a posterior of which hardly anything but the best pose is left.
_COLD = 1e-3


class PolarImages:
    """Polar samples of a cache, whitened, for a grid's in-plane angles; and the trial shifts.

    Of a cache in memory they are made once and kept; of one on the disk whenever they are looked at, so that
    no memory grows with the number of images.
    """

    def __init__(self, cache: ImageCache, noise_variance: Tensor, config: ConsensusConfig) -> None:
        radius, device = config.radius_end_px, cache.samples.device
        self.share, self.at_once, self._cache = cache.share, cache.tiles.search, cache
        grid = rotation_grid(config.healpix_order)
        self.grid, self.plane = to_device((grid, polar_plane(radius, grid.in_plane_count)), device)
        self.box_px = working_box(radius)
        # Samples beyond the radius are needed to interpolate its last ring.
        inner = half_plane(self.box_px, min((self.box_px - 1) // 2, cache.plane.radius_px))
        self._inner, self._transform = to_device(inner, device), polar_transform(self.plane, self.box_px)
        self._whitening = torch.sqrt(2 * self.plane.areas / noise_variance[self.plane.rings])
        self._kept = None if cache.is_on_disk else self._every()
        self.shifts_px = shift_disk(config.shift_extent_px, config.shift_step_px).to(device)
        self.phases = shift_phases(self.shifts_px, self.plane, cache.plane.box_px)

    def __len__(self) -> int:
        return len(self._cache)

    def _samples(self, rows: Tensor | slice, count: int) -> Tensor:
        """The first polar samples of some of the cache's images."""
        given = self._cache.samples[rows, : len(self._inner)]
        return polar_samples(given, self._inner, self._transform[:, :count]) * self._whitening[:count]

    def _every(self) -> ImageBatch:
        held, count, at_once = len(self._cache.samples), len(self.plane), min(512, self._cache.tiles.local)
        samples = torch.empty(held, count, dtype=torch.complex64, device=self.plane.rings.device)
        # Filled in place: two copies at a time would be the most that a whole run takes.
        for start in range(0, held, at_once):
            here = slice(start, start + at_once)
            samples[here] = self._samples(here, count)
        return ImageBatch(samples, self._cache.transfer_at(self.plane.frequencies).mul_(self._whitening))

    def batch(self, rows: Tensor, radius_px: int, noise_factor: Tensor | None = None) -> ImageBatch:
        """Images held here, within a radius, whitened for noise that is larger by a factor per ring."""
        count, here = self.plane.count_within(radius_px), self.share.local(rows)
        if self._kept is None:
            transfer = self._cache.transfer_at(self.plane.frequencies[:count], here)
            found = ImageBatch(self._samples(here, count), transfer.mul_(self._whitening[:count]))
        else:
            found = ImageBatch(self._kept.samples[here, :count], self._kept.transfer[here, :count])
        if noise_factor is None:
            return found
        scale = noise_factor[self.plane.rings[:count]].rsqrt()
        return ImageBatch(found.samples * scale, found.transfer * scale)

    def ring_power(self, batch: ImageBatch, size: int) -> Tensor:
        """(rings,) power per ring over white noise's of a batch of that many images in all processes."""
        count = batch.samples.shape[1]
        power = self.share.total((batch.samples.abs() ** 2).sum(0))
        return self._per_ring(power, size * 2 * self.plane.areas[:count])

    def ring_residual(self, batch: ImageBatch, found: MarginalSums, base: Tensor) -> Tensor:
        """(rings,) expected residual power of a batch per ring, over that of white noise of unit variance.

        sum |y|^2 - 2 Re <sum gamma c y, P> + <sum gamma c^2, |P|^2>, from the sums over directions that the
        expectation step has made anyway.
        """
        count = batch.samples.shape[1]
        explained = 2 * (found.numerator * base.conj()).real.sum(0) - (
            found.denominator * base.abs() ** 2
        ).sum(0)
        rest = (batch.samples.abs() ** 2).sum(0) - explained
        return self._per_ring(rest, len(batch.samples) * 2 * self.plane.areas[:count])

    def _per_ring(self, values: Tensor, expected: Tensor) -> Tensor:
        rings = self.plane.rings[: len(values)]
        total = values.new_zeros(int(self.plane.rings.max()) + 1)
        return total.index_add(0, rings, values) / total.index_add(0, rings, expected).clamp(min=1e-9)


@dataclass(frozen=True)
class ConsensusState:
    """A start in progress.

    Attributes
    ----------
    maps : (1, b, b, b) float32
        On the working box.
    sums : FourierSums
    update : int
    shift_sd_px : float
    log_evidence : float
        Per image, decaying mean over recent batches.
    noise_factor : (radius + 1,) float32
        Per ring, residual variance over the noise variance: what the map does not explain yet counts as
        noise, so that posteriors are only as sharp as the map is good. An annealing without a schedule.
    """

    maps: Tensor
    sums: FourierSums
    update: int
    shift_sd_px: float
    log_evidence: float
    noise_factor: Tensor


def _masked(maps: Tensor, config: ConsensusConfig) -> Tensor:
    box_px = maps.shape[-1]
    return maps * soft_sphere(box_px, config.mask_radius_fraction * box_px, 2.0, maps.device)


def random_start(
    images: PolarImages, config: ConsensusConfig, learning: Tensor, generator: torch.Generator
) -> ConsensusState:
    """A map from images in random orientations: a sphere but for its noise, which breaks the symmetry."""
    device = learning.device
    rows = learning[torch.randperm(len(learning), generator=generator)[: 5 * config.batch].to(device)]
    share, size = images.share, len(rows)
    rotations = random_rotations(size, generator).to(device)[share.holds(rows)]
    batch = images.batch(share.mine(rows), config.radius_end_px)
    empty = empty_sums(config.radius_end_px, 1, device=device)
    shape, frequencies = empty.shape, images.plane.frequencies
    numerator = insert_block((batch.samples * batch.transfer)[..., None], rotations, frequencies, shape)
    denominator = insert_block((batch.transfer**2)[..., None], rotations, frequencies, shape)
    sums = share.total(FourierSums(numerator, denominator, config.radius_end_px))
    ridge = relative_ridge(sums, config.ridge_fraction)
    maps = solve_maps(sums, ridge, max(config.radius_start_px - 4, 4), images.box_px)
    factor = images.ring_power(batch, size).clamp(min=1.0)
    return ConsensusState(_masked(maps, config), empty, 0, config.shift_extent_px, -math.inf, factor)


def radius_at(update: int, config: ConsensusConfig) -> int:
    """The marching radius: linear from start to end over the marching updates."""
    fraction = min(1.0, update / config.march_updates)
    return round(config.radius_start_px + (config.radius_end_px - config.radius_start_px) * fraction)


def expect(
    state: ConsensusState,
    images: PolarImages,
    rows: Tensor,
    radius_px: int,
    annealed: bool = False,
    temperature: float = 1.0,
) -> Iterator[tuple[Tensor, MarginalSums, Tensor]]:
    """Posterior sums of those of some images that are held here against a state's map, in chunks that fit
    the processor's caches.

    Yields
    ------
    rows of the chunk, its sums, and its residual power per ring over that of the noise
    """
    plane = images.plane.within(radius_px)
    block = block_from_maps(state.maps, int(images.plane.rings.max()))
    bank = slice_bank(block, images.grid, plane, scoring_dtype(block.device))
    phases = images.phases[:, : len(plane)].contiguous()
    trials = trial_shifts(images.shifts_px, phases, state.shift_sd_px)
    factor = state.noise_factor if annealed else None
    for part in images.share.tiles(rows, images.at_once):
        batch = images.batch(part, radius_px, factor)
        found = marginal_step(bank, batch, trials, temperature)
        residual = images.ring_residual(batch, found, bank.base)
        yield part, found, residual if factor is None else residual * factor


def _insert(sums: FourierSums, found: MarginalSums, grid: RotationGrid, plane: PolarPlane) -> FourierSums:
    shape = sums.shape
    numerator = insert_block(found.numerator[..., None], grid.directions, plane.frequencies, shape)
    denominator = insert_block(found.denominator[..., None], grid.directions, plane.frequencies, shape)
    return sums + FourierSums(numerator, denominator, sums.radius_px, sums.padding)


def consensus_update(
    state: ConsensusState, images: PolarImages, config: ConsensusConfig, rows: Tensor
) -> ConsensusState:
    """One batch: expectation over the grid, decayed sums, a new map."""
    radius = radius_at(state.update, config)
    plane = images.plane.within(radius)
    share = images.share
    sums = share.once(state.sums.scaled(config.decay))
    evidence, moment = 0.0, 0.0
    residual = torch.zeros_like(state.noise_factor)
    temperature = _COLD if config.hard else 1.0
    for part, found, rest in expect(state, images, rows, radius, config.annealed, temperature):
        sums = _insert(sums, found, images.grid, plane)
        evidence += float(found.log_evidence.sum()) / len(rows)
        moment += found.shift_moment / len(rows)
        residual += rest * len(part) / len(rows)
    sums, evidence, moment, residual = share.total((sums, evidence, moment, residual))
    maps = solve_maps(sums, relative_ridge(sums, config.ridge_fraction), radius, images.box_px)
    spread = 0.9 * state.shift_sd_px**2 + 0.1 * (0.5 * moment + 0.5 * config.shift_step_px**2)
    factor = torch.where(residual > 0, 0.8 * state.noise_factor + 0.2 * residual, state.noise_factor).clamp(
        min=1.0
    )
    return ConsensusState(_masked(maps, config), sums, state.update + 1, math.sqrt(spread), evidence, factor)

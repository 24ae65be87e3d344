"""The model that refinement improves, and its two halves of an iteration: expectation and maximisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nunatak.core.collective import ALONE, Group
from nunatak.core.device import hand_back_freed
from nunatak.core.gathered import Gathered
from nunatak.latent.subspace import LatentPosterior, moments
from nunatak.particles.cache import ImageCache
from nunatak.projection.gridding import block_from_maps
from nunatak.projection.operator import insert_moments
from nunatak.projection.slices import complete_plane
from nunatak.reconstruct.solving import SEARCHED, MapFilter, System, solve_systems
from nunatak.search.candidates import LATENT, Candidates, ImageSamples
from nunatak.search.local import LocalFit, LocalPrior, LocalSearch, best_of, neighbours
from nunatak.volumes.fsc import shell_correlation
from nunatak.volumes.local_filter import locally_filtered
from nunatak.volumes.maps import density_of_all, molecular_support, soft_sphere, working_box
from nunatak.volumes.wiener import FourierSums, empty_sums


@dataclass(frozen=True)
class Model:
    """Maps, and what is believed of every particle.

    Attributes
    ----------
    maps : (h, 1 + q, b, b, b) float32
        Mean and components, of each half-set (h = 2) or of all particles (h = 1), on a working box.
    radius_px : int
        Fourier radius the maps reach.
    correlation : (1 + q, shells) float32
        FSC between the half-sets' maps, mean and components.
    candidates : Candidates
        One per particle, in order.
    covariances : (n, q, q) float32
    noise_variance : (shells,) float32
    halves : (n,) int64
        0 or 1.
    log_evidence : (n,) float32
    sound : (n,) bool, or None
        Particles that maps are made from; None for all.
    """

    maps: Tensor
    radius_px: int
    correlation: Tensor
    candidates: Candidates
    covariances: Tensor
    noise_variance: Tensor
    halves: Tensor
    log_evidence: Tensor
    sound: Tensor | None = None

    @property
    def latent_dim(self) -> int:
        """Number of components."""
        return self.maps.shape[1] - 1

    @property
    def posterior(self) -> LatentPosterior:
        """What is believed of the particles' latents."""
        return LatentPosterior(self.candidates.latents, self.covariances)


@dataclass(frozen=True)
class SearchPlan:
    """How the expectation step moves each particle.

    Attributes
    ----------
    radius_px : int
    turns : (k, 3) float64
        Rotation vectors to try around the current pose, the identity first; one row for none.
    iterations : int
        Gauss-Newton steps after the best turn is chosen.
    prior : LocalPrior
    """

    radius_px: int
    turns: Tensor
    iterations: int
    prior: LocalPrior


def images_within(cache: ImageCache, rows: Tensor, radius_px: int) -> ImageSamples:
    """The samples of some images, all held by this process, inside a radius."""
    count = cache.plane.count_within(radius_px)
    plane = cache.plane
    cut = replace(
        plane, frequencies=plane.frequencies[:count], shells=plane.shells[:count], radius_px=radius_px
    )
    here = cache.share.local(rows)
    return ImageSamples(cache.samples[here, :count], cache.transfer[here, :count], cut)


def search_from(search: LocalSearch, start: Candidates, plan: SearchPlan) -> LocalFit:
    """The fit of each candidate after a plan, in order: the best of its turns, then steps from there."""
    if len(plan.turns) > 1:
        tried = search.profile(neighbours(start, plan.turns))
        start = tried.candidates[best_of(tried, len(plan.turns))]
    return search.refine(start, plan.iterations) if plan.iterations else search.profile(start)


def expect(
    model: Model, cache: ImageCache, plan: SearchPlan, progress: Callable[[int], None] = lambda done: None
) -> tuple[Model, Tensor]:
    """Move every particle's pose, scale and latent uphill against the maps of its half-set.

    Returns
    -------
    Model
        With new candidates, covariances and evidence.
    (n, shells) float32
        Residual power per particle of this process' share.
    """
    every = torch.arange(len(cache), device=cache.samples.device)
    weights = 2 / model.noise_variance
    gathered, done = Gathered(len(cache.samples)), 0
    for half, maps in enumerate(model.maps):
        block = block_from_maps(maps, max(plan.radius_px, 2))
        chosen = torch.nonzero(model.halves == half).flatten() if len(model.maps) > 1 else every
        for rows in cache.share.tiles(chosen, max(64, cache.tiles.local // len(plan.turns))):
            search = LocalSearch(block, images_within(cache, rows, plan.radius_px), weights, plan.prior)
            start = replace(model.candidates[rows], rows=every[: len(rows)])
            fit = search_from(search, start, plan)
            found = fit.candidates
            at = found.rotations, found.shifts_px, found.scales, found.latents
            believed = fit.covariance[:, LATENT, LATENT], fit.log_evidence, fit.power
            gathered.put(cache.share.local(rows), *at, *believed)
            done += len(rows) * cache.share.size
            progress(min(done, len(cache)))
    *own, power = gathered.columns()
    rotations, shifts, scales, latents, covariances, log_evidence = cache.share.joined(tuple(own))
    candidates = Candidates(rotations, shifts, scales, latents, every)
    moved = replace(model, candidates=candidates, covariances=covariances, log_evidence=log_evidence)
    return moved, power


def particle_sums(model: Model, cache: ImageCache, radius_px: int, rows: Tensor) -> FourierSums:
    """Sufficient statistics of those of some particles that are sound, of all processes, as they now lie."""
    if model.sound is not None:
        rows = rows[model.sound[rows]]
    weights = 2 / model.noise_variance
    turn = 2 * torch.pi / cache.plane.box_px
    # Maps may still be those of before there were latents.
    channels = 1 + model.candidates.latents.shape[1]
    sums = empty_sums(radius_px, channels, device=weights.device)
    for part in cache.share.tiles(rows, cache.tiles.local):
        images = images_within(cache, part, radius_px)
        w = weights[images.plane.shells]
        own = model.candidates[part]
        angle = -turn * (own.shifts_px @ images.plane.frequencies.float().T)
        centred = images.samples * torch.polar(images.transfer * w, angle)
        posterior = LatentPosterior(own.latents, model.covariances[part])
        # In place: the sums of a large box are the largest thing in memory.
        insert_moments(
            (centred, images.transfer**2 * w),
            moments(posterior, own.scales),
            own.rotations,
            images.plane.frequencies,
            (sums.numerator, sums.denominator),
        )
    complete_plane(sums.numerator)
    complete_plane(sums.denominator)
    return cache.share.total(sums)


def half_sums(model: Model, cache: ImageCache, radius_px: int) -> tuple[FourierSums, FourierSums]:
    """Sufficient statistics of the two half-sets at the current poses and latents."""
    halves = [
        particle_sums(model, cache, radius_px, torch.nonzero(model.halves == half).flatten())
        for half in (0, 1)
    ]
    return halves[0], halves[1]


def without_latents(model: Model) -> Model:
    """The same poses with no latents and the mean maps only."""
    return replace(
        model,
        maps=model.maps[:, :1],
        correlation=model.correlation[:1],
        candidates=replace(model.candidates, latents=model.candidates.latents[:, :0]),
        covariances=model.covariances[:, :0, :0],
    )


def smooth_correlation(correlation: Tensor) -> Tensor:
    """An FSC made monotone enough to be a prior: noise of single shells would let noise into the map."""
    padded = torch.nn.functional.pad(correlation[:, None], (1, 1), mode="replicate")
    return torch.nn.functional.avg_pool1d(padded, 3, stride=1)[:, 0]


def full_correlation(half_correlation: Tensor) -> Tensor:
    """FSC of the whole map from that of its halves: 2 F / (1 + F) (Rosenthal & Henderson 2003)."""
    f = half_correlation.clamp(min=0)
    return 2 * f / (1 + f)


def maximize(
    model: Model,
    cache: ImageCache,
    radius_px: int,
    mask_radius_fraction: float,
    joined: bool,
    filtering: MapFilter = SEARCHED,
) -> Model:
    """New maps from the current poses and latents, and the FSC between half-sets; see with_maps."""
    hand_back_freed()
    sums = half_sums(model, cache, radius_px)
    box = min(working_box(radius_px), cache.plane.box_px)
    return with_maps(model, sums, (box, mask_radius_fraction), joined, filtering, cache.share)


def with_maps(
    model: Model,
    sums: tuple[FourierSums, FourierSums],
    grid: tuple[int, float],
    joined: bool,
    filtering: MapFilter = SEARCHED,
    group: Group = ALONE,
) -> Model:
    """The model with the maps that the half-sets' sums give, and the FSC between these.

    Filtered components are zero where no particle has density.

    Parameters
    ----------
    grid : (int, float)
        Box of the maps in voxels, and radius of their mask as a fraction of it.
    joined : bool
        One model from all particles instead of one per half-set.
    filtering : MapFilter
    group : Group
        Processes that have these sums, and share out the work.
    """
    first, second = sums
    box, mask_radius_fraction = grid
    radius_px, device = first.radius_px, model.noise_variance.device
    mask = soft_sphere(box, mask_radius_fraction * box, max(2.0, 0.04 * box), device)
    # An equal prior for the comparison: it must not make the halves agree. Maps are filtered afterwards, so
    # theirs is only to hold what no image has seen.
    systems = [
        *(System((first,), 0.5), System((second,), 0.5)),
        *([System((first, second), 0.95)] if joined else [System((first,), 0.9), System((second,), 0.9)]),
    ]
    solved = solve_systems(systems, box, group).mul_(mask)
    halves, maps = solved[:2], solved[2:].clone()
    correlation = shell_correlation(halves[0], halves[1])
    if filtering.mean_power or filtering.component_power:  # the mask again, because bands reach beyond it
        powers = torch.full((first.channels, 1, 1, 1), filtering.component_power, device=device)
        powers[0] = filtering.mean_power
        maps = locally_filtered(maps, halves, radius_px, joined, powers, group).mul_(mask)
        # What differs is of molecules, and most of the box is solvent.
        inside = molecular_support(density_of_all(maps.mean(0)))
        maps[:, 1:] *= inside
        if filtering.in_the_molecule and first.channels > 1:
            maps[:, 0] *= inside
    return replace(model, maps=maps, radius_px=radius_px, correlation=correlation)


def noise_from_residuals(power: Tensor, cache: ImageCache, previous: Tensor) -> Tensor:
    """(shells,) noise variance from (n, shells) residual power, each process giving its share's; as before
    in shells not searched."""
    counts = torch.bincount(cache.plane.shells, minlength=len(previous)).clamp(min=1)
    reach = power.shape[1]
    updated = previous.clone()
    mean = cache.share.total(power.sum(0)) / len(cache)
    updated[1:reach] = mean[1:] / counts[1:reach]
    updated[0] = updated[1]
    return updated

"""Everything a run knows, as one immutable value: what a checkpoint holds and what each pass returns anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from nunatak.core.errors import RunError
from nunatak.core.fourier import HalfPlane
from nunatak.geometry.poses import Poses
from nunatak.particles.cache import ImageCache
from nunatak.particles.extent import particle_radius, power_by_ring
from nunatak.reconstruct.config import EngineConfig, mask_radius_fraction
from nunatak.reconstruct.consensus import ConsensusConfig, ConsensusState, PolarImages
from nunatak.reconstruct.model import Model
from nunatak.reconstruct.screening import sound_images


class Outcome(StrEnum):
    """How a run ended."""

    RUNNING = "running"
    CONVERGED = "converged"
    BUDGET = "stopped at the last allowed pass"
    NO_STRUCTURE = "no structure found"


@dataclass(frozen=True)
class RunState:
    """A run between two passes.

    Attributes
    ----------
    stage, passes : int
        Position in the recipe: index of the stage, passes done in it.
    starts : tuple of ConsensusState
        Random starts still in the race.
    start_labels : tuple of int
        Number of each, from 0.
    model : Model or None
        Its maps are those of the half-sets once these are independent.
    maps : (1 + q, b, b, b) float32 or None
        Mean and components from all particles: the last pass makes them.
    pose_change_deg : float
        Median over particles in the last pass.
    confidence, junk : (n,) float32 or None
    kept : dict
        What a recipe's parts keep for their later passes, by the part's name: tensors, plain values, tuples
        and dictionaries of them. Passes make a new dictionary and change none.
    history : tuple of dict
        One record per pass.
    outcome : Outcome
    """

    stage: int = 0
    passes: int = 0
    starts: tuple[ConsensusState, ...] = ()
    start_labels: tuple[int, ...] = ()
    model: Model | None = None
    maps: Tensor | None = None
    pose_change_deg: float = float("inf")
    confidence: Tensor | None = None
    junk: Tensor | None = None
    kept: dict[str, Any] = field(default_factory=dict)
    history: tuple[dict[str, Any], ...] = ()
    outcome: Outcome = Outcome.RUNNING

    @property
    def oriented(self) -> Model:
        """The model, for passes that come after particles have poses.

        Raises
        ------
        RunError
            No pass has given them any.
        """
        if self.model is None:
            raise RunError(
                "No particle has a pose yet: a recipe's first stages must find or take over poses."
            )
        return self.model


class Relay:
    """Passes a fraction on to whoever listens at the moment: the one thing about a context that changes."""

    def __init__(self) -> None:
        self.target: Callable[[float], None] = lambda fraction: None

    def __call__(self, fraction: float) -> None:
        self.target(fraction)


def limit_radius_px(config: EngineConfig, plane_radius_px: int, extent_A: float) -> int:
    """Largest Fourier radius that may be used of images that have samples up to another one."""
    limit = plane_radius_px
    if config.resolution_limit_A is not None:
        limit = min(limit, int(extent_A / config.resolution_limit_A))
    return max(limit, 4)


def held_out_size(count: int) -> int:
    """Particles that starts never learn from: a tenth, at most 500."""
    return min(500, max(1, count // 10)) if count > 1 else 0


def starts_config(
    config: EngineConfig,
    plane: HalfPlane,
    pixel_size_A: float,
    count: int,
    seen_radius: float | None = None,
) -> ConsensusConfig:
    """The engine's parameters as the starts need them, for so many particles with these samples.

    Parameters
    ----------
    seen_radius : float, optional
        Of the particles, as a fraction of the box, as the images show it: a smaller mask keeps noise out of
        the first maps.
    """
    box, extent_A = plane.box_px, plane.box_px * pixel_size_A
    mask = mask_radius_fraction(config, extent_A)
    if config.particle_diameter_A is None and seen_radius is not None:
        mask = min(mask, seen_radius)
    end = max(4, min(config.radius_end_px, limit_radius_px(config, plane.radius_px, extent_A) - 1))
    return ConsensusConfig(
        radius_start_px=min(config.radius_start_px, max(4, end - 2)),
        radius_end_px=end,
        healpix_order=config.healpix_order,
        march_updates=round(1.2 * config.start_updates),
        batch=max(1, min(config.start_batch, (count - held_out_size(count)) // 4)),
        shift_extent_px=config.shift_extent_px * box / 64,
        shift_step_px=config.shift_step_px * box / 64,
        mask_radius_fraction=mask,
        hard=config.assignment == "hard",
        annealed=config.annealing,
    )


@dataclass(frozen=True)
class Context:
    """What passes may read and never change.

    Attributes
    ----------
    cache : ImageCache
    config : EngineConfig
    poses : Poses or None
        Where the file has them and the recipe uses them.
    warnings : tuple of str
        What was noticed about the particles, as sentences.
    progress : Relay
        Told, as a fraction, how much of the current pass is done.
    """

    cache: ImageCache
    config: EngineConfig
    poses: Poses | None = None
    warnings: tuple[str, ...] = ()
    progress: Relay = field(default_factory=lambda: Relay())

    @property
    def device(self) -> torch.device:
        """Where everything is computed: where the images are. Random numbers come from the CPU."""
        return self.cache.samples.device

    @cached_property
    def image_power(self) -> Tensor:
        """(shells,) mean power of the images."""
        return self.cache.image_power()

    @cached_property
    def noise_variance(self) -> Tensor:
        """(shells,) first guess of the noise: what lies around the particles, at most the whole image."""
        return torch.minimum(self.cache.background_power, self.image_power)

    @cached_property
    def limit_px(self) -> int:
        """Largest Fourier radius that may be used."""
        return limit_radius_px(self.config, self.cache.plane.radius_px, self.cache.extent_A)

    @cached_property
    def consensus(self) -> ConsensusConfig:
        """The engine's parameters as the starts need them."""
        cache = self.cache
        seen = particle_radius(cache.share.agreed(power_by_ring(cache)))
        return starts_config(self.config, cache.plane, cache.pixel_size_A, len(cache), seen)

    @cached_property
    def mask_fraction(self) -> float:
        """Radius of the mask as a fraction of the box."""
        return mask_radius_fraction(self.config, self.cache.extent_A)

    @cached_property
    def polar(self) -> PolarImages:
        """Polar samples for the global search."""
        return PolarImages(self.cache, self.noise_variance, self.consensus)

    def generator(self, *purpose: int) -> torch.Generator:
        """A random stream for one purpose: no stream depends on how far another one got."""
        seed = self.config.seed
        for number in purpose:
            seed = (seed * 1_000_003 + number + 1) % (2**63 - 1)
        return torch.Generator().manual_seed(seed)

    @cached_property
    def held_out(self) -> Tensor:
        """Rows that starts never learn from, so that their evidence is honest: a tenth, at most 500."""
        count = len(self.cache)
        size = held_out_size(count)
        order = torch.randperm(count, generator=self.generator(11)).to(self.device)
        return order[self.sound[order]][:size].sort().values

    @cached_property
    def sound(self) -> Tensor:
        """(n,) bool: particles that maps are made from, see nunatak.reconstruct.screening."""
        return self.cache.share.agreed(sound_images(self.cache, self.noise_variance))

    @cached_property
    def halves(self) -> Tensor:
        """(n,) half-set of every particle, 0 or 1, at random and of equal size."""
        count = len(self.cache)
        halves = torch.zeros(count, dtype=torch.long)
        halves[torch.randperm(count, generator=self.generator(13))[: count // 2]] = 1
        return halves.to(self.device)

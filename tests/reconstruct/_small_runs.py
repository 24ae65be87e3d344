"""Small simulated sets, read into the engine's context."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from nunatak.particles.cache import ImageCache, build_cache
from nunatak.particles.dataset import MemoryImages
from nunatak.particles.truth import Truth
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.model import Model
from nunatak.reconstruct.state import Context
from nunatak.search.candidates import Candidates
from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.dataset import simulate_particles


@lru_cache(maxsize=8)
def small_set(
    particles: int = 80, box_px: int = 16, snr: float = 1.0, seed: int = 0
) -> tuple[ImageCache, Truth]:
    """The built-in molecule; an snr of zero is noise alone."""
    config = SimulationConfig(particles=particles, box_px=box_px, snr=snr or 1.0, seed=seed)
    given, truth = simulate_particles(config)
    if not snr:
        noise = np.random.default_rng(seed).normal(size=(particles, box_px, box_px)).astype(np.float32)
        given = replace(given, images=MemoryImages(noise))
    return build_cache(given, sign=1, circle_px=0.42 * box_px), truth


def small_context(cache: ImageCache, **changes: object) -> Context:
    """A homogeneous run on a grid of 30 degrees with starts of a few updates, unless said otherwise."""
    config = {
        "latent_dim": 0,
        "restarts": 2,
        "start_updates": 5,
        "start_batch": 24,
        "radius_start_px": 4,
        "radius_end_px": 6,
        "healpix_order": 1,
    }
    return Context(cache, EngineConfig(**(config | changes)))


def true_model(context: Context, truth: Truth, radius_px: int, latent_dim: int = 0) -> Model:
    """True poses, no latents yet, empty maps: what maximisation starts from."""
    count, cache = len(context.cache), context.cache
    candidates = Candidates(
        truth.rotations,
        truth.shifts_A / cache.pixel_size_A,
        torch.ones(count),
        torch.zeros(count, latent_dim),
        torch.arange(count),
    )
    return Model(
        torch.zeros(1, 1 + latent_dim, 8, 8, 8),
        radius_px,
        torch.zeros(1 + latent_dim, 4),
        candidates,
        torch.zeros(count, latent_dim, latent_dim),
        context.noise_variance,
        context.halves,
        torch.zeros(count),
    )

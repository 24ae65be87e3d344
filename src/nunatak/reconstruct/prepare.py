"""From particles to the context of a run: the sign of their contrast, and their images read once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from nunatak.particles.cache import CachePlan, ImageCache, build_cache
from nunatak.particles.checks import require_enough
from nunatak.particles.contrast import guess_contrast_sign
from nunatak.particles.dataset import Particles
from nunatak.particles.stored import StoredRows
from nunatak.reconstruct.config import EngineConfig, mask_radius_fraction
from nunatak.reconstruct.state import Context


def contrast_sign(particles: Particles, config: EngineConfig) -> tuple[int, list[str]]:
    """+1 where protein is bright or -1 where it is dark, and what is to be said about that."""
    stated = {"bright": 1, "dark": -1}.get(config.contrast)
    if stated is not None:
        return stated, []
    sign, confidence = guess_contrast_sign(particles, seed=config.seed)
    word, other = ("bright", "dark") if sign > 0 else ("dark", "bright")
    if confidence < 0.9:
        return sign, [
            f"Protein was taken to be {word} in the images, but they hardly tell: "
            f"if the map looks hollow, try --contrast {other}."
        ]
    return sign, [] if sign > 0 else ["Protein is dark in the images: they were inverted."]


def _placed(cache: ImageCache, device: torch.device | str) -> ImageCache:
    """A cache on a device; what stays on the disk is read to it."""
    if isinstance(cache.samples, StoredRows) and isinstance(cache.transfer, StoredRows):
        return replace(cache, samples=cache.samples.on(device), transfer=cache.transfer.on(device))
    return cache


def prepare(
    particles: Particles,
    config: EngineConfig,
    use_poses: bool = False,
    progress: Callable[[int], None] = lambda done: None,
    device: torch.device | str = "cpu",
    plan: CachePlan | None = None,
) -> Context:
    """Read, normalise and transform all images, and move them to the device that the run computes on.

    Parameters
    ----------
    use_poses : bool
        Hand the file's poses on to the recipe.
    progress : function of the number of images read
    plan : CachePlan, optional
        Where the samples are held, and by how many processes; in memory by default.

    Raises
    ------
    InputError
        Too few particles, fewer than processes; missing or truncated stacks, pixels that are not numbers.
    """
    plan = plan or CachePlan()
    require_enough(particles, max(2, plan.group.size))
    sign, warnings = contrast_sign(particles, config)
    extent_A = particles.box_px * particles.pixel_size_A
    circle_px = mask_radius_fraction(config, extent_A) * particles.box_px
    cache = _placed(build_cache(particles, sign, circle_px, plan, progress, device), device)
    if len(cache.flat_images):
        rows = ", ".join(str(int(row) + 1) for row in cache.flat_images[:3])
        warnings.append(f"{len(cache.flat_images)} images are constant and say nothing (rows {rows}, ...).")
    poses = particles.poses if use_poses else None
    return Context(cache, config, poses, (*particles.warnings, *warnings))

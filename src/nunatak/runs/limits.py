"""What a run cannot begin with, as one sentence each, before any image is read or any folder is made."""

from __future__ import annotations

import os
from pathlib import Path

from nunatak.core.errors import InputError, require
from nunatak.particles.cache import ImageCache
from nunatak.particles.dataset import Particles
from nunatak.reconstruct.config import EngineConfig

SMALLEST_BOX_PX = 16
"""Below it there are too few Fourier rings to search with."""
LEAST_RINGS = 6
"""Fourier rings that a resolution limit must leave."""


def require_free(folder: Path) -> None:
    """Raise InputError unless a run can be written into a folder, which need not exist.

    Raises
    ------
    InputError
        It holds a run already, is a file, or cannot be made.
    """
    if (folder / "config.toml").exists():
        raise InputError(
            f"{folder} already holds a run: go on with `nunatak resume {folder}`, or choose another folder."
        )
    nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    require(nearest.is_dir(), f"{folder} cannot be made: {nearest} is a file; choose another folder.")
    require(os.access(nearest, os.W_OK), f"{folder} cannot be written: {nearest} allows no writing.")


def require_sensible(particles: Particles, config: EngineConfig) -> None:
    """Raise InputError where a parameter does not fit the particles' box and pixel size.

    Raises
    ------
    InputError
        The box is too small, the mask is larger than the box or smaller than a few pixels, or the resolution
        limit leaves nothing or lies far beyond the pixel size.
    """
    box_px, pixel_A = particles.box_px, particles.pixel_size_A
    extent_A = box_px * pixel_A
    least_px = min(particles.group_box_px)
    require(
        least_px >= SMALLEST_BOX_PX,
        f"The images have a box of {least_px} px: at least {SMALLEST_BOX_PX} px were expected; extract "
        "larger or finer ones.",
    )
    diameter_A, limit_A = config.particle_diameter_A, config.resolution_limit_A
    if diameter_A is not None:
        require(
            6 * pixel_A <= diameter_A <= extent_A,
            f"--particle-diameter-A {diameter_A:g} does not fit the box: between {6 * pixel_A:.4g} and "
            f"{extent_A:.4g} A were expected; is it in A?",
        )
    if limit_A is not None:
        coarsest_A = extent_A / LEAST_RINGS
        require(
            pixel_A <= limit_A <= coarsest_A,
            f"--resolution-limit-A {limit_A:g} makes no sense for a box of {extent_A:.4g} A with "
            f"{pixel_A:.4g} A per pixel: between {pixel_A:.4g} and {coarsest_A:.4g} A were expected.",
        )


def require_contrast(cache: ImageCache) -> None:
    """Raise InputError unless at least two images are more than a constant."""
    telling = len(cache) - len(cache.flat_images)
    require(
        telling >= 2,
        f"{len(cache.flat_images)} of {len(cache)} images are constant: images that show "
        "something were expected; is this the right stack?",
    )

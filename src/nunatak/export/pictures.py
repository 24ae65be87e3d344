"""Grey pictures of maps and particle images, as arrays that a page embeds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from nunatak.core.errors import require

Picture = NDArray[np.uint8]
AXIS_NAMES = ("z", "y", "x")


def grey_picture(values: NDArray, size_px: int = 240, limits: tuple[float, float] | None = None) -> Picture:
    """(size_px, size_px) uint8 picture of a square array, high values bright, smoothly enlarged.

    The range is cut at the 0.5 and 99.5 percentiles unless given.
    """
    low, high = np.percentile(values, [0.5, 99.5]) if limits is None else limits
    fine = ndimage.zoom(np.asarray(values, float), size_px / values.shape[0], order=3, mode="nearest")
    scaled = (fine - low) / max(high - low, 1e-30)
    return (np.clip(scaled, 0, 1) * 255).round().astype(np.uint8)


def central_slices(volume: NDArray) -> list[NDArray]:
    """The three sections through the centre of a (d, d, d) map, normal to z, y and x."""
    centre = volume.shape[0] // 2
    return [volume.take(centre, axis=axis) for axis in range(3)]


def central_part(volume: NDArray, margin: float = 1.5) -> NDArray:
    """The middle of a (d, d, d) map: what holds the particle and half as much again around it.

    The particle reaches as far as the mean density of a spherical shell exceeds a tenth of the largest.
    """
    centre = volume.shape[0] // 2
    line = np.arange(volume.shape[0]) - centre
    radius = np.sqrt(line[:, None, None] ** 2 + line[None, :, None] ** 2 + line**2).round().astype(int)
    mean = np.bincount(radius.ravel(), volume.ravel()) / np.bincount(radius.ravel())
    inside = mean[: centre + 1] - np.median(volume)
    reach = int(np.flatnonzero(inside > 0.1 * inside.max(initial=0)).max(initial=0))
    half = min(centre, max(int(margin * reach), centre // 2))
    return volume[(slice(centre - half, centre + half),) * 3]


def projections(volume: NDArray) -> list[NDArray]:
    """The three sums of a (d, d, d) map along z, y and x."""
    return [volume.sum(axis=axis) for axis in range(3)]


def map_pictures(volume: NDArray, size_px: int = 240) -> tuple[list[Picture], list[Picture]]:
    """Slices and projections along z, y and x as pictures; each trio shares one grey scale.

    Raises
    ------
    InputError
        When the map is not a cube.
    """
    require(
        volume.ndim == 3 and len(set(volume.shape)) == 1,
        f"Pictures of a map need a cube, but its shape is {volume.shape}.",
    )
    trios = []
    for trio in (central_slices(volume), projections(volume)):
        low, high = np.percentile(np.stack(trio), [0.5, 99.8])
        trios.append([grey_picture(plane, size_px, (float(low), float(high))) for plane in trio])
    return trios[0], trios[1]


def low_passed(images: NDArray, pixel_size_A: float, resolution_A: float) -> NDArray[np.float32]:
    """(n, h, w) images without detail finer than a resolution: a Gaussian that is 1/2 there."""
    height, width = images.shape[-2:]
    squared = fft.fftfreq(height)[:, None] ** 2 + fft.rfftfreq(width)[None] ** 2
    squared_per_A2 = squared / pixel_size_A**2
    keep = np.exp(-np.log(2) * squared_per_A2 * resolution_A**2)
    return fft.irfft2(fft.rfft2(images) * keep, s=(height, width)).astype(np.float32)


def particle_pictures(
    images: NDArray, pixel_size_A: float, resolution_A: float = 30.0, size_px: int = 160
) -> tuple[list[Picture], list[Picture]]:
    """Raw and low-passed pictures of (n, box, box) particle images."""
    smooth = low_passed(images, pixel_size_A, resolution_A)
    raw = [grey_picture(image, size_px) for image in images]
    return raw, [grey_picture(image, size_px) for image in smooth]

"""Fourier shell correlation of two maps, and the figures that are read off its curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from nunatak.core.errors import require

HALF_MAP_THRESHOLD = 0.143
"""Two half maps agree (Rosenthal & Henderson 2003, J. Mol. Biol. 333, 721)."""

REFERENCE_THRESHOLD = 0.5
"""A noisy map agrees with a noise-free one."""


def fourier_shell_correlation(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """FSC of two cubic maps, (d, d, d) each, by rounded shells 0 .. d // 2.

    Harauz & van Heel 1986, Optik 73, 146. A shell in which either map has no power correlates 0.

    Returns
    -------
    (d // 2 + 1,) float64

    Raises
    ------
    InputError
        When the maps are not cubes of one size.
    """
    box = first.shape[0]
    require(
        first.shape == second.shape == (box, box, box),
        f"An FSC needs two cubic maps of one box, but these are {first.shape} and {second.shape}.",
    )
    a, b = fft.rfftn(np.asarray(first, np.float64)), fft.rfftn(np.asarray(second, np.float64))
    shells, weights = _half_transform_shells(box)

    def shell_sum(values: NDArray) -> NDArray:
        return np.bincount(shells, (values * weights).ravel(), minlength=box)[: box // 2 + 1]

    cross = shell_sum(a.real * b.real + a.imag * b.imag)
    power = shell_sum(np.abs(a) ** 2) * shell_sum(np.abs(b) ** 2)
    return np.divide(cross, np.sqrt(power), out=np.zeros_like(cross), where=power > 0)


def resolution_A(
    correlation: NDArray, box_px: int, pixel_size_A: float, threshold: float = HALF_MAP_THRESHOLD
) -> float | None:
    """Where the curve first falls below the threshold, in angstrom, interpolated between shells.

    None when even shell 1 is below it: then there is no resolution to claim. A curve that never falls
    gives its last shell.
    """
    below = np.flatnonzero(correlation[1:] < threshold)
    if not len(below):
        return box_px * pixel_size_A / (len(correlation) - 1)
    shell = int(below[0]) + 1
    if shell == 1:
        return None
    higher, lower = correlation[shell - 1], correlation[shell]
    crossing = shell - 1 + (higher - threshold) / (higher - lower)
    return float(box_px * pixel_size_A / crossing)


def first_shell_below(correlation: NDArray, threshold: float = REFERENCE_THRESHOLD) -> int:
    """Number of the first shell >= 1 below the threshold; the last shell when there is none."""
    below = np.flatnonzero(correlation[1:] < threshold)
    return int(below[0]) + 1 if len(below) else len(correlation) - 1


def area_under_fsc(correlation: NDArray) -> float:
    """Area under the curve over 0 .. 0.5 / pixel, negative values counted as 0; at most 0.5.

    CryoBench's figure (Jeon et al. 2024).
    """
    frequencies_per_px = np.linspace(0.0, 0.5, len(correlation))
    return float(np.trapezoid(np.clip(correlation, 0.0, None), frequencies_per_px))


def _half_transform_shells(box: int) -> tuple[NDArray, NDArray]:
    """Rounded radius and multiplicity of every sample of an rfftn; the other half are Friedel mates."""
    full = fft.fftfreq(box, 1 / box)
    half = np.arange(box // 2 + 1)
    radius = np.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + half**2)
    weights = np.full(box // 2 + 1, 2.0)
    weights[0] = 1.0
    if box % 2 == 0:
        weights[-1] = 1.0
    return radius.round().astype(np.int64).ravel(), weights

"""The microscope and the ice: contrast transfer functions, noise, contrast, junk, all drawn at random."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from nunatak.core.errors import require
from nunatak.optics.ctf import CtfParameters
from nunatak.simulate.config import SimulationConfig

CONTRAST_RANGE = (0.3, 2.0)
BLOB_SIGNAL, EDGE_SIGNAL = 6.0, 2.0
"""Height of junk, in standard deviations of the clean images."""


def draw_optics(config: SimulationConfig, generator: np.random.Generator) -> tuple[CtfParameters, np.ndarray]:
    """Optics of every particle and the number of the micrograph that it lies on.

    Micrographs have a defocus between the limits (most in the middle) and an astigmatism in some direction;
    particles within one differ by their height in the ice.

    Raises
    ------
    InputError
        When the limits of the defocus are in the wrong order.
    """
    low, high = config.defocus_min_A, config.defocus_max_A
    require(
        low <= high,
        f"--defocus-min-A should be at most --defocus-max-A, but is {low:g} against {high:g}; exchange them.",
    )
    count = config.particles
    micrograph = np.arange(count) // config.particles_per_micrograph
    micrographs = int(micrograph[-1]) + 1
    defocus = low + (high - low) * generator.beta(2, 2, micrographs)
    astigmatism = np.abs(generator.normal(0, config.astigmatism_sd_A, micrographs))
    angle = generator.uniform(0, 180, micrographs)
    mean = defocus[micrograph] + generator.normal(0, config.defocus_spread_A, count)
    columns = (
        mean + astigmatism[micrograph] / 2,
        mean - astigmatism[micrograph] / 2,
        angle[micrograph],
        np.full(count, config.voltage_kV),
        np.full(count, config.spherical_aberration_mm),
        np.full(count, config.amplitude_contrast),
        np.zeros(count),
    )
    return CtfParameters(*(torch.from_numpy(column).float() for column in columns)), micrograph


def draw_shifts_A(config: SimulationConfig, box_A: float, generator: np.random.Generator) -> Tensor:
    """(n, 2) float32 shifts in angstrom."""
    extent_A = 0.04 * box_A if config.shift_extent_A is None else config.shift_extent_A
    shape = (config.particles, 2)
    if config.shift_distribution == "normal":
        return torch.from_numpy(generator.normal(0, extent_A, shape)).float()
    return torch.from_numpy(generator.uniform(-extent_A, extent_A, shape)).float()


def draw_contrast(config: SimulationConfig, generator: np.random.Generator) -> Tensor:
    """(n,) float32 factors about 1, within CONTRAST_RANGE."""
    contrast = 1 + config.contrast_sd * generator.standard_normal(config.particles)
    return torch.from_numpy(np.clip(contrast, *CONTRAST_RANGE)).float()


def draw_junk(config: SimulationConfig, generator: np.random.Generator) -> Tensor:
    """(n,) bool: the nearest whole number to the junk fraction, anywhere in the set."""
    junk = np.zeros(config.particles, bool)
    junk[generator.permutation(config.particles)[: round(config.junk_fraction * config.particles)]] = True
    return torch.from_numpy(junk)


def junk_image(box_px: int, signal_sd: float, generator: np.random.Generator) -> np.ndarray:
    """(box, box) float32 image of empty ice, of a blob off the centre, or of an edge (carbon, a crack)."""
    y, x = np.mgrid[:box_px, :box_px] - box_px // 2
    kind = generator.integers(3)
    image = np.zeros((box_px, box_px))
    if kind == 1:
        centre_x, centre_y = generator.uniform(-box_px / 4, box_px / 4, 2)
        squared = (x - centre_x) ** 2 + (y - centre_y) ** 2
        image = BLOB_SIGNAL * signal_sd * np.exp(-squared / (2 * (box_px / 12) ** 2))
    elif kind == 2:
        angle, distance = generator.uniform(0, 2 * math.pi), generator.uniform(0, box_px / 4)
        image = EDGE_SIGNAL * signal_sd * (x * math.cos(angle) + y * math.sin(angle) > distance)
    return image.astype(np.float32)


def noise_spectrum(config: SimulationConfig, pixel_size_A: float) -> Tensor:
    """(box, box // 2 + 1) float32 power of the noise on the grid of rfft2, with mean 1 over the whole plane.

    Power falls as (1 + (s * corner)^2)^(-falloff / 2) with frequency s: flat, then a power law.
    """
    box = config.box_px
    y = torch.fft.fftfreq(box, pixel_size_A, dtype=torch.float64)
    x = torch.fft.rfftfreq(box, pixel_size_A, dtype=torch.float64)
    squared = y[:, None] ** 2 + x**2
    power = (1 + squared * config.noise_corner_A**2) ** (-config.noise_falloff / 2)
    # All columns but the first, and the last of an even box, stand for their Friedel mates too.
    mates = torch.full((len(x),), 2.0, dtype=torch.float64)
    mates[0] = 1
    if box % 2 == 0:
        mates[-1] = 1
    return (power / ((power * mates).sum() / box**2)).float()


def draw_noise(count: int, spectrum: Tensor, generator: np.random.Generator) -> np.ndarray:
    """(count, box, box) float32 noise of variance 1 with a radial spectrum; see noise_spectrum."""
    box = spectrum.shape[0]
    white = generator.standard_normal((count, box, box), dtype=np.float32)
    if bool((spectrum == spectrum[0, 0]).all()):
        return white
    transform = torch.fft.rfft2(torch.from_numpy(white)) * spectrum.sqrt()
    return torch.fft.irfft2(transform, s=(box, box)).numpy()

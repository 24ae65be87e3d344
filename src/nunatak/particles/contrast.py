"""Is protein bright or dark? Judged from the images: the particle against what surrounds it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from nunatak.optics.ctf import CtfParameters, evaluate_ctf
from nunatak.particles.dataset import Particles

_LOW_PASS_A = 40.0
# Fractions of the box: the particle's inside, and the ring that it should not reach.
_DISC, _RING = 0.2, (0.4, 0.5)
# What chance alone reaches: below it the confidence is zero.
_CHANCE = 3.0
_BATCH = 64


def guess_contrast_sign(particles: Particles, sample: int = 200, seed: int = 0) -> tuple[int, float]:
    """Guess whether protein is bright in the images as they are stored.

    The images are whitened, phase-flipped and low-passed to 40 A. Two signs of protein are looked at, each as
    a t-value over the sample: the centre is brighter than a ring about it, and the grey values are skewed to
    the bright side.

    Parameters
    ----------
    particles : Particles
    sample : int
        How many images, drawn at random, are looked at.
    seed : int

    Returns
    -------
    sign : +1 where protein is bright, -1 where it is dark and images must be multiplied by -1
    confidence : 0 to 1; 0 where noise alone would look the same

    Raises
    ------
    InputError
        From the reader: a missing stack, or pixels that are not finite.
    """
    generator = np.random.default_rng(seed)
    count = min(sample, len(particles))
    rows = np.sort(generator.choice(len(particles), count, replace=False))
    group = particles.optics_group.numpy()[rows]
    evidence = [
        _centre_and_skewness(particles, part, particles.group_pixel_size_A[g])
        for g in np.unique(group)
        for part in np.array_split(rows[group == g], math.ceil(np.sum(group == g) / _BATCH))
    ]
    centre, skewness = (_t_value(values) for values in torch.cat(evidence).T)
    combined = (2 * centre + skewness) / math.sqrt(5)
    confidence = math.erf(max(abs(combined) - _CHANCE, 0.0) / math.sqrt(2))
    return (-1 if combined < 0 else 1), confidence


def _centre_and_skewness(particles: Particles, rows: np.ndarray, pixel_size_A: float) -> Tensor:
    """(k, 2) brightness of the centre over the ring, and skewness, of images of one optics group."""
    images = torch.from_numpy(particles.images.read(rows)).double()
    filtered = _filtered(images, particles.optics[torch.from_numpy(rows)], pixel_size_A)
    box = images.shape[-1]
    axis = torch.arange(box, dtype=torch.float64) - box // 2
    radius = torch.hypot(axis[:, None], axis[None]) / box
    ring = filtered[:, (radius > _RING[0]) & (radius < _RING[1])]
    centre = filtered[:, radius < _DISC].mean(1) - ring.mean(1)
    inside = filtered[:, radius < _RING[0]]
    inside = inside - inside.mean(1, keepdim=True)
    skewness = (inside**3).mean(1) / (inside**2).mean(1).clamp_min(1e-30) ** 1.5
    return torch.stack([centre / ring.std(1).clamp_min(1e-12), skewness], 1)


def _filtered(images: Tensor, optics: CtfParameters, pixel_size_A: float) -> Tensor:
    """Images whitened by their mean power spectrum, phase-flipped and low-passed."""
    box = images.shape[-1]
    ky, kx = torch.meshgrid(torch.fft.fftfreq(box), torch.fft.rfftfreq(box), indexing="ij")
    per_A = torch.stack([kx, ky], -1).reshape(-1, 2) / pixel_size_A
    radius = torch.hypot(kx, ky)
    shell = (radius * box).round().long()
    transforms = torch.fft.rfft2(images - images.mean((1, 2), keepdim=True))
    power = torch.zeros(int(shell.max()) + 1, dtype=torch.float64)
    power.index_add_(0, shell.reshape(-1), (transforms.abs() ** 2).mean(0).reshape(-1))
    amplitude = (power / torch.bincount(shell.reshape(-1))).sqrt().clamp_min(1e-12)
    low_pass = torch.exp(-0.5 * (radius / pixel_size_A * _LOW_PASS_A) ** 2)
    sign = torch.sign(evaluate_ctf(optics, per_A)).reshape(transforms.shape)
    return torch.fft.irfft2(transforms * sign * (low_pass / amplitude[shell]), s=(box, box))


def _t_value(values: Tensor) -> float:
    """Mean over its standard error; 0 for fewer than two values or for values that are all zero."""
    if len(values) < 2:
        return 0.0
    error = float(values.std()) / math.sqrt(len(values))
    return float(values.mean()) / error if error > 0 else 0.0

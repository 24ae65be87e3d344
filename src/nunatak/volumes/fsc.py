"""Fourier shell correlation on rounded shells (Harauz & van Heel 1986; convention 11)."""

from __future__ import annotations

import torch
from torch import Tensor

from nunatak.core.fourier import fourier_map, real_map
from nunatak.volumes.maps import density_of_all, molecular_support, radius_grid

_RANDOM_BELOW = 0.8


def shell_correlation(first: Tensor, second: Tensor) -> Tensor:
    """FSC of two (..., d, d, d) maps.

    Returns
    -------
    (..., d // 2) float32
        Shells 0 to d // 2 - 1; shell 0 is 1.
    """
    box = first.shape[-1]
    a, b = fourier_map(first).flatten(-3), fourier_map(second).flatten(-3)
    shells = radius_grid(box, first.device).round().long().flatten().clamp(max=box)
    count = box // 2

    def total(values: Tensor) -> Tensor:
        sums = values.new_zeros(*values.shape[:-1], box + 1)
        return sums.index_add_(-1, shells, values)[..., :count]

    cross = total((a * b.conj()).real)
    scale = torch.sqrt(total(a.abs() ** 2) * total(b.abs() ** 2))
    correlation = cross / scale.clamp(min=1e-30)
    correlation[..., 0] = 1.0
    return correlation


def molecular_correlation(pair: Tensor) -> Tensor:
    """(d // 2,) FSC of (2, d, d, d) half-maps where the molecule is, at a resolution of some voxels."""
    return _masked_correlation(pair, _inside(pair))


def corrected_correlation(pair: Tensor, generator: torch.Generator) -> Tensor:
    """molecular_correlation without what the mask itself makes agree.

    From two shells past where the maps' own FSC falls below 0.8, (F - F_random) / (1 - F_random), F_random of
    maps whose phases are random from there on, in the same mask (Chen et al. 2013).

    Parameters
    ----------
    pair : (2, d, d, d) float32
        Half-maps with no filter.
    generator : torch.Generator
        On the CPU.
    """
    inside = _inside(pair)
    begin = first_shell_below(shell_correlation(pair[0], pair[1]), _RANDOM_BELOW)
    masked = _masked_correlation(pair, inside)
    chance = _masked_correlation(with_random_phases(pair, begin, generator), inside).clamp(-0.99, 0.99)
    shells = torch.arange(len(masked), device=masked.device)
    corrected = ((masked - chance) / (1 - chance)).clamp(-1, 1)
    return torch.where(shells < begin + 2, masked, corrected)


def with_random_phases(maps: Tensor, first_shell: int, generator: torch.Generator) -> Tensor:
    """(..., d, d, d) real maps whose phases are those of white noise from a shell on."""
    noise = torch.randn(maps.shape, generator=generator).to(maps.device)
    transform, phases = fourier_map(maps), torch.angle(fourier_map(noise))
    beyond = radius_grid(maps.shape[-1], maps.device).round() >= first_shell
    return real_map(torch.where(beyond, torch.polar(transform.abs(), phases), transform))


def _inside(pair: Tensor) -> Tensor:
    return molecular_support(density_of_all(pair.mean(0, keepdim=True)))


def _masked_correlation(pair: Tensor, mask: Tensor) -> Tensor:
    return shell_correlation(pair[0] * mask, pair[1] * mask)


def first_shell_below(correlation: Tensor, threshold: float) -> int:
    """First shell from which the curve is under a threshold; the number of shells when it never is."""
    # A few numbers that are looked at one by one: on the host.
    correlation = correlation.cpu()
    below = torch.nonzero(correlation[1:] < threshold).flatten()
    return int(below[0]) + 1 if len(below) else len(correlation)


def resolution_A(correlation: Tensor, extent_A: float, threshold: float = 0.143) -> float | None:
    """Resolution where the curve crosses a threshold, by linear interpolation; None if no shell is above it.

    Parameters
    ----------
    extent_A : float
        Side of the box: shell s is at extent / s.
    """
    shell = first_shell_below(correlation, threshold)
    if shell <= 1:
        return None
    if shell >= len(correlation):
        return extent_A / (len(correlation) - 1)
    high, low = float(correlation[shell - 1]), float(correlation[shell])
    return extent_A / (shell - 1 + (high - threshold) / max(high - low, 1e-9))

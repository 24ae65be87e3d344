"""Fourier shell correlation on rounded shells (Harauz & van Heel 1986; convention 11)."""

from __future__ import annotations

import torch
from torch import Tensor

from nunatak.core.fourier import fourier_map
from nunatak.volumes.maps import radius_grid


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

"""Adam for tables with a row per particle: a row costs and changes something only when it is visited.

Ordinary Adam updates every row at every step: with N rows that is N / batch times as much work, and rows
coast on old momentum between their visits. Here each row counts its own visits (Kingma & Ba 2015, with the
bias correction per row), and has one second moment for all its numbers, so that a step has the direction of
the averaged gradient whatever the axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BETAS = (0.8, 0.95)
"""A particle is visited once a pass, and there are tens of passes: shorter memories than a network's."""


@dataclass(frozen=True)
class RowMoments:
    """Moments of a table's rows.

    Attributes
    ----------
    first : (n, k) float32
    second : (n,) float32
    visits : (n,) int64
    """

    first: Tensor
    second: Tensor
    visits: Tensor


def no_moments(count: int, width: int, device: torch.device) -> RowMoments:
    """Of rows that were never visited."""
    return RowMoments(
        torch.zeros(count, width, device=device),
        torch.zeros(count, device=device),
        torch.zeros(count, dtype=torch.long, device=device),
    )


def unshared(moments: RowMoments) -> RowMoments:
    """A copy for a pass to change: states between passes stay as they are."""
    return RowMoments(moments.first.clone(), moments.second.clone(), moments.visits.clone())


def visit(moments: RowMoments, rows: Tensor, gradient: Tensor, rate: float) -> Tensor:
    """Steps of the visited rows, whose moments are changed in place.

    Parameters
    ----------
    rows : (b,) int64
        Each at most once.
    gradient : (b, k)

    Returns
    -------
    (b, k) steps to add; of norm `rate` times the root of k at most, nearly
    """
    slow, slower = BETAS
    first = slow * moments.first[rows] + (1 - slow) * gradient
    second = slower * moments.second[rows] + (1 - slower) * gradient.square().mean(1)
    visits = moments.visits[rows] + 1
    moments.first[rows], moments.second[rows], moments.visits[rows] = first, second, visits
    count = visits.to(first.dtype)
    mean = first / (1 - slow**count)[:, None]
    size = (second / (1 - slower**count)).sqrt()
    return -rate * mean / (size[:, None] + 1e-12)

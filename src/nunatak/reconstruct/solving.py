"""Maps from sums: the prior that an FSC stands for, and systems that several processes share out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nunatak.core.collective import Group
from nunatak.projection.gridding import maps_from_block
from nunatak.volumes.wiener import (
    FourierSums,
    block_shells,
    diagonal_positions,
    shell_means,
    solve_added,
)


@dataclass(frozen=True)
class MapFilter:
    """What keeps noise out of maps that are solved for with a weak prior (docs/decisions/0010, 0026).

    Attributes
    ----------
    mean_power, component_power : int
        Of the local filter; 0 and 0 for maps that are to be compared.
    in_the_molecule : bool
        The mean of a model with components is zero where no particle has density, as these are.
    """

    mean_power: int = 1
    component_power: int = 1
    in_the_molecule: bool = False


SEARCHED = MapFilter()
"""Of maps that poses are found with."""
COMPARED = MapFilter(0, 0)
"""Of half-maps: what they share must not come from a filter."""
LAST = MapFilter(1, 2, in_the_molecule=True)
"""Of the last maps. What is left of noise in the components enters every map away from the mean; the mean
itself is Wiener's, as other programs' reconstructions are."""


@dataclass(frozen=True)
class System:
    """What maps are solved for.

    Attributes
    ----------
    sums : tuple of FourierSums
        One, or several that are added up.
    correlation : float
        FSC, in every shell, that the prior stands for.
    """

    sums: tuple[FourierSums, ...]
    correlation: float


def solve_systems(systems: Sequence[System], box_px: int, group: Group) -> Tensor:
    """(k, c, d, d, d) float32 maps of k systems of c channels, which processes share out map by map.

    Parameters
    ----------
    group : Group
        All of its processes have the same sums.
    """
    channels, device = systems[0].sums[0].channels, systems[0].sums[0].numerator.device
    share = group.share_of(channels * len(systems))
    first, end = share.bounds
    solved = torch.empty(end - first, box_px, box_px, box_px, device=device)
    for number in range(first // channels, -(-end // channels)):
        before = number * channels
        here = slice(max(first - before, 0), min(end - before, channels))
        place = slice(before + here.start - first, before + here.stop - first)
        block = _solved(systems[number])[..., here]
        solved[place] = maps_from_block(block, box_px, systems[number].sums[0].padding)
    return share.joined(solved).unflatten(0, (len(systems), channels))


def _solved(system: System) -> Tensor:
    """(z, y, x, c) transforms."""
    first = system.sums[0]
    weights = torch.stack([shell_weights(sums) for sums in system.sums]).sum(0)
    flat = weights.new_full((first.channels, len(weights)), system.correlation)
    return solve_added(system.sums, _ridge(weights, flat), first.radius_px)


def shell_weights(sums: FourierSums) -> Tensor:
    """(radius + 2, c) mean weight of each map in each shell."""
    device = sums.denominator.device
    shells = block_shells(sums.radius_px, sums.padding, device)
    diagonal = sums.denominator[..., diagonal_positions(sums.channels, device)]
    return shell_means(diagonal, shells, sums.radius_px + 2)


def correlation_ridge(sums: FourierSums, correlation: Tensor) -> Tensor:
    """(radius + 2, c) prior precision with which the filtered map has the signal-to-noise that an FSC says.

    weight (1 - F) / F per shell, as in RELION (Scheres 2012, eq. 8 with tau^2 from the FSC).
    """
    return _ridge(shell_weights(sums), correlation)


def _ridge(weights: Tensor, correlation: Tensor) -> Tensor:
    f = torch.zeros_like(weights)
    known = min(correlation.shape[1], len(weights))
    f[:known] = correlation[:, :known].T
    f = f.clamp(0.001, 0.9999)
    return torch.maximum(weights, 1e-3 * weights[1:-1].amax(0)) * (1 - f) / f

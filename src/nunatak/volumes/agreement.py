"""How far two maps from unrelated starts agree, each in a frame and of a hand of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from nunatak.core.collective import ALONE, Group
from nunatak.geometry.so3_grid import rotation_grid
from nunatak.volumes.alignment import match, move_maps, whitened
from nunatak.volumes.fsc import shell_correlation
from nunatak.volumes.maps import change_box, mirrored, working_box

# Radius of the global search: features there are as wide as the steps of its rotation grid.
_SEARCH_RADIUS_PX = 6


def aligned_correlation(first: Tensor, second: Tensor, radius_px: int, group: Group = ALONE) -> Tensor:
    """FSC of two maps once the second is turned, shifted and if need be mirrored onto the first.

    Parameters
    ----------
    first, second : (d, d, d)
    radius_px : int
        Fourier radius up to which they are compared.
    group : Group
        Processes that have the same maps, and share out the rotations that are tried.

    Returns
    -------
    (radius + 1,) float32
    """
    trust = torch.ones(radius_px + 1, device=first.device)
    rotations = rotation_grid(2).rotations().to(first)
    small = min(_SEARCH_RADIUS_PX, radius_px)
    both_hands = torch.stack([first, second, mirrored(second)])
    fine = change_box(both_hands, working_box(radius_px))
    coarse = whitened(change_box(both_hands, working_box(small)), small, trust)
    white = whitened(fine, radius_px, trust)
    scores, curves = [], []
    for hand in (1, 2):
        near, _ = match(coarse[0], coarse[hand], rotations, (), group)
        motion, score = match(white[0], white[hand], near.rotations, (7.5, 4.0, 2.0), group)
        scores.append(score)
        curves.append(shell_correlation(fine[0], move_maps(fine[hand : hand + 1], motion)[0]))
    return curves[0 if scores[0] >= scores[1] else 1][: radius_px + 1]

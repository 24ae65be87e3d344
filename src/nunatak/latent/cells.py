"""Latents divided into cells of about equal size, so that what is nearly the same is computed once a cell."""

from __future__ import annotations

import torch
from torch import Tensor


def balanced_cells(positions: Tensor, size: int) -> list[Tensor]:
    """Rows of (n, q) positions in cells of at most `size`, by halving along the widest axis at its median.

    Returns
    -------
    list of (k,) int64
        Every row once; cells differ by a factor of two at most.
    """
    waiting = [torch.arange(len(positions), device=positions.device)]
    done: list[Tensor] = []
    while waiting:
        rows = waiting.pop()
        if len(rows) <= max(size, 1):
            done.append(rows)
            continue
        axis = _widest_axis(positions[rows])
        order = torch.argsort(positions[rows] @ axis, stable=True)
        waiting += [rows[order[len(rows) // 2 :]], rows[order[: len(rows) // 2]]]
    return done


def _widest_axis(positions: Tensor) -> Tensor:
    """(q,) direction of the largest variance; zeros where there are no dimensions."""
    if not positions.shape[1]:
        return positions.new_zeros(0)
    deviation = positions - positions.mean(0)
    return torch.linalg.eigh(deviation.T @ deviation).eigenvectors[:, -1]

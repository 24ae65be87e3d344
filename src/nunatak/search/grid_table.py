"""What exhaustive search costs, step by step: the numbers that make every faster search worth its trouble."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nunatak.core.fourier import half_plane


@dataclass(frozen=True)
class GridRow:
    """One grid of poses.

    Attributes
    ----------
    order : int
        HEALPix order.
    step_deg : float
        Spacing of the in-plane turns, and about that of the directions.
    directions, turns, rotations, shifts, candidates : int
        Directions times turns are rotations; rotations times shifts are candidates.
    gflop_per_image : float
        Of comparing one image with every candidate: 4 operations per sample for the inner product with every
        shift, and 4 for the norm of every rotation's slice; making the slices is shared by all images.
    """

    order: int
    step_deg: float
    directions: int
    turns: int
    rotations: int
    shifts: int
    candidates: int
    gflop_per_image: float


def grid_row(order: int, shifts_per_axis: int, radius_px: int) -> GridRow:
    """The counts of one order, for a Fourier radius in Fourier pixels."""
    directions, turns = 12 * 4**order, 6 * 2**order
    rotations, shifts = directions * turns, shifts_per_axis**2
    samples = len(half_plane(2 * radius_px + 1, radius_px))
    operations = 4 * samples * rotations * (shifts + 1)
    step_deg = 360 / turns
    return GridRow(
        order, step_deg, directions, turns, rotations, shifts, rotations * shifts, operations / 1e9
    )


def grid_rows(orders: Iterable[int], shifts_per_axis: int, radius_px: int) -> list[GridRow]:
    """A row for each HEALPix order."""
    return [grid_row(order, shifts_per_axis, radius_px) for order in orders]

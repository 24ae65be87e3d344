"""Two runs side by side: the second one's poses and map carried into the first one's frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from nunatak.core.errors import InputError, require
from nunatak.dashboard.reader import RunReader
from nunatak.dashboard.table import RunTable
from nunatak.io.mrc import read_map
from nunatak.metrics.agreement import PoseAgreement, canonical_correlations, pose_agreement
from nunatak.metrics.fsc import REFERENCE_THRESHOLD, fourier_shell_correlation, resolution_A
from nunatak.metrics.volume_score import place_in_truth_frame, placement
from nunatak.volumes.maps import change_box

LEAST_COMMON = 10
SAME_EXTENT = 0.02
"""Boxes whose edges differ by less than this fraction are taken as one."""


@dataclass(frozen=True, eq=False)
class MapComparison:
    """Two mean maps on one grid.

    Attributes
    ----------
    placed : (d, d, d) float32
        The second map in the first one's frame.
    correlation : (d // 2 + 1,) float64
        FSC of the two.
    resolution_A : float or None
        Where it falls below 0.5.
    pixel_size_A : float
    """

    placed: NDArray[np.float32]
    correlation: NDArray[np.float64]
    resolution_A: float | None
    pixel_size_A: float


@dataclass(frozen=True, eq=False)
class RunComparison:
    """What two runs say about their common particles.

    Attributes
    ----------
    rows : two (k,) int64
        Row of each common particle in either run.
    poses : PoseAgreement
    latents : (r,) float64
        Canonical correlations; empty where a run is homogeneous.
    maps : MapComparison or None
        None where boxes differ in size.
    """

    rows: tuple[NDArray[np.int64], NDArray[np.int64]]
    poses: PoseAgreement
    latents: NDArray[np.float64]
    maps: MapComparison | None


def compare_runs(first: RunReader, second: RunReader) -> RunComparison:
    """Compare two finished runs.

    Raises
    ------
    InputError
        A run is not finished or has no poses, or they share too few particles.
    """
    tables = first.table(), second.table()
    rows = common_rows(*tables)
    rotations, shifts_A = [], []
    for table, mine in zip(tables, rows, strict=True):
        if table.rotations is None or table.shifts_A is None:
            raise InputError("Only finished runs with poses can be compared.")
        rotations.append(table.rotations[mine].astype(np.float64))
        shifts_A.append(table.shifts_A[mine].astype(np.float64))
    poses = pose_agreement((rotations[0], rotations[1]), (shifts_A[0], shifts_A[1]))
    latents = canonical_correlations(tables[0].latents[rows[0]], tables[1].latents[rows[1]])
    return RunComparison(rows, poses, latents, _maps(first.folder, second.folder, poses))


def common_rows(first: RunTable, second: RunTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the particles that both runs hold, told by their image names.

    Raises
    ------
    InputError
        They share fewer than ten.
    """
    if first.file is None or second.file is None:
        raise InputError("Only finished runs can be compared.")
    names = [pd.Index(table.file.rows["rlnImageName"].astype(str)) for table in (first, second) if table.file]
    if names[0].equals(names[1]):
        every = np.arange(len(names[0]))
        return every, every
    unique = ~names[1].duplicated()
    place = names[1][unique].get_indexer(names[0])
    mine = np.flatnonzero(place >= 0)
    require(
        len(mine) >= LEAST_COMMON,
        f"The two runs share {len(mine)} particles (by image name): at least {LEAST_COMMON} are needed.",
    )
    return mine, np.flatnonzero(unique)[place[mine]]


def _maps(first: Path, second: Path, poses: PoseAgreement) -> MapComparison | None:
    try:
        (one, pixel_A, _), (other, other_pixel_A, _) = (
            read_map(first / "mean.mrc"),
            read_map(second / "mean.mrc"),
        )
    except InputError:
        return None
    extents_A = len(one) * pixel_A, len(other) * other_pixel_A
    if abs(extents_A[0] - extents_A[1]) > SAME_EXTENT * extents_A[0]:
        return None
    box = min(len(one), len(other))
    pair = [change_box(torch.from_numpy(np.array(m, np.float32)), box).numpy() for m in (one, other)]
    pixel_A = extents_A[0] / box
    placed = place_in_truth_frame(pair[1], placement(poses.alignment, poses.origin_A, pixel_A))
    curve = fourier_shell_correlation(pair[0], placed)
    reached = resolution_A(curve, box, pixel_A, REFERENCE_THRESHOLD)
    return MapComparison(placed.astype(np.float32), curve, reached, pixel_A)

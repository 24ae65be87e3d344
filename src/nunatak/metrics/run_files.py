"""What an evaluation reads of a run: its poses and the order of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from nunatak.core.errors import require
from nunatak.geometry.rotations import matrices_from_euler
from nunatak.io.star import read_star_tables

ANGLES = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
ORIGINS = ["rlnOriginXAngst", "rlnOriginYAngst"]


@dataclass(frozen=True)
class RunPoses:
    """What a run says about every particle.

    Attributes
    ----------
    rotations : (n, 3, 3) float64
    shifts_A : (n, 2) float64
    image_numbers : list of str
        The part of rlnImageName before the @: it tells the order.
    junk_probability : (n,) float64 or None
    """

    rotations: NDArray[np.float64]
    shifts_A: NDArray[np.float64]
    image_numbers: list[str]
    junk_probability: NDArray[np.float64] | None

    def __len__(self) -> int:
        return len(self.rotations)


def read_run_poses(run_dir: Path | str) -> RunPoses:
    """Poses from RUN/particles.star; raises InputError when the file or its pose columns are missing."""
    path = Path(run_dir) / "particles.star"
    rows = read_star_tables(path).rows
    missing = [name for name in [*ANGLES, *ORIGINS] if name not in rows]
    require(not missing, f"{path} has no {', '.join(missing)}: only a run with poses can be evaluated.")
    angles_deg = torch.from_numpy(rows[ANGLES].to_numpy(np.float64, copy=True))
    junk = rows["nunatakJunk"].to_numpy(np.float64) if "nunatakJunk" in rows else None
    shifts_A = rows[ORIGINS].to_numpy(np.float64)
    return RunPoses(matrices_from_euler(angles_deg).numpy(), shifts_A, image_numbers(rows), junk)


def image_numbers(rows: pd.DataFrame) -> list[str]:
    """The part of each rlnImageName before the @."""
    return [str(name).split("@")[0] for name in rows["rlnImageName"]]

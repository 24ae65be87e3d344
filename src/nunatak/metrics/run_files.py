"""The files that an evaluation reads: poses of a run, order of the rows, maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import starfile
import torch
from numpy.typing import NDArray

from nunatak.core.errors import InputError, require
from nunatak.geometry.rotations import matrices_from_euler

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
    rows = read_particle_rows(path)
    missing = [name for name in ["rlnImageName", *ANGLES, *ORIGINS] if name not in rows]
    require(not missing, f"{path} has no {', '.join(missing)}: only a run with poses can be evaluated.")
    angles_deg = torch.from_numpy(rows[ANGLES].to_numpy(np.float64, copy=True))
    junk = rows["nunatakJunk"].to_numpy(np.float64) if "nunatakJunk" in rows else None
    shifts_A = rows[ORIGINS].to_numpy(np.float64)
    return RunPoses(matrices_from_euler(angles_deg).numpy(), shifts_A, image_numbers(rows), junk)


def read_particle_rows(path: Path) -> pd.DataFrame:
    """The particle table of a .star file, with or without an optics table."""
    require(path.exists(), f"{path} does not exist: expected the particles of a run or a simulation.")
    blocks = starfile.read(path, always_dict=True)
    rows = blocks.get("particles", next(iter(blocks.values()), None))
    require(isinstance(rows, pd.DataFrame), f"{path} has no table of particles.")
    return rows


def image_numbers(rows: pd.DataFrame) -> list[str]:
    """The part of each rlnImageName before the @."""
    return [str(name).split("@")[0] for name in rows["rlnImageName"]]


def read_map(path: Path) -> NDArray[np.float32]:
    """(d, d, d) zyx map of an .mrc file; raises InputError when it is none."""
    try:
        with mrcfile.open(path, permissive=True) as opened:
            volume = np.array(opened.data, np.float32)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a map: {error}.") from error
    require(volume.ndim == 3, f"{path} should hold a three-dimensional map, but its shape is {volume.shape}.")
    return volume

"""What a particle file says, after all foreign conventions were converted: plain, frozen, without images."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from nunatak.geometry.poses import Poses
from nunatak.optics.ctf import CtfParameters


@dataclass(frozen=True)
class GivenOptics:
    """Optics that the caller states; what is not None replaces what the file says."""

    voltage_kV: float | None = None
    spherical_aberration_mm: float | None = None
    amplitude_contrast: float | None = None
    defocus_u_A: float | None = None
    defocus_v_A: float | None = None
    astigmatism_angle_deg: float | None = None
    phase_shift_deg: float | None = None

    def stated(self) -> dict[str, float]:
        """The values that were given, by field name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}


@dataclass(frozen=True)
class ReadOptions:
    """How a particle file is to be understood, where it does not say so itself.

    Attributes
    ----------
    datadir : Path or None
        Folder in which image paths are looked for first.
    pixel_size_A : float or None
        Replaces the file's pixel size, for all optics groups.
    optics : GivenOptics
    no_ctf : bool
        Take the images as having no CTF, whatever the file says.
    passthrough : Path or None
        cryoSPARC passthrough file; found by itself where it lies beside.
    """

    datadir: Path | None = None
    pixel_size_A: float | None = None
    optics: GivenOptics = field(default_factory=GivenOptics)
    no_ctf: bool = False
    passthrough: Path | None = None


@dataclass(frozen=True, eq=False)
class ImageLocations:
    """Where n images lie.

    Attributes
    ----------
    stack_names : tuple of str
        Each stack's path as the file writes it.
    stack_paths : tuple of Path or None
        Where it was found; None where it was not.
    stack_of_row, slice_of_row : (n,) int64
        Index into the above, and 0-based image in the stack.
    """

    stack_names: tuple[str, ...]
    stack_paths: tuple[Path | None, ...]
    stack_of_row: np.ndarray
    slice_of_row: np.ndarray

    def missing(self) -> tuple[str, ...]:
        """Names of the stacks that were not found."""
        return tuple(
            name for name, path in zip(self.stack_names, self.stack_paths, strict=True) if path is None
        )

    def subset(self, rows: np.ndarray) -> ImageLocations:
        """The locations of some rows, without the stacks that no row needs any more."""
        used, stack_of_row = np.unique(self.stack_of_row[rows], return_inverse=True)
        names = tuple(self.stack_names[i] for i in used)
        paths = tuple(self.stack_paths[i] for i in used)
        return ImageLocations(names, paths, stack_of_row.astype(np.int64), self.slice_of_row[rows])


@dataclass(frozen=True, eq=False)
class ParticleFile:
    """A particle file as read, in RELION's names and conventions whatever program wrote it.

    Attributes
    ----------
    path : Path
    kind : str
        In words: "RELION 3.1 star", "cryoSPARC", "image stack", ...
    rows : DataFrame
        One row per particle, the input's order, all its columns, RELION names.
    optics_rows : DataFrame
        RELION 3.1 optics table, as read or derived.
    locations : ImageLocations
    optics : CtfParameters
        Per particle; where has_ctf is False such that the CTF is 1 everywhere.
    optics_group : (n,) int64
        Index into the group tuples.
    group_names, group_pixel_size_A, group_box_px : tuple
        Box 0 where neither the file nor a stack tells it.
    poses : Poses or None
    random_subset : (n,) int64 or None
        1 or 2.
    has_ctf : bool
    ctf_missing : tuple of str
        What is missing for a CTF, in the file's names.
    declared_sign : int or None
        -1 where the file itself says that protein is dark (cryoSPARC blob/sign), +1 where bright.
    unused_columns : tuple of str
        Columns that say something about the images that is not modelled; they are kept on writing.
    warnings : tuple of str
    cryosparc_rows : structured array or None
        The rows as cryoSPARC wrote them, passthrough merged.
    """

    path: Path
    kind: str
    rows: pd.DataFrame
    optics_rows: pd.DataFrame
    locations: ImageLocations
    optics: CtfParameters
    optics_group: np.ndarray
    group_names: tuple[str, ...]
    group_pixel_size_A: tuple[float, ...]
    group_box_px: tuple[int, ...]
    poses: Poses | None = None
    random_subset: np.ndarray | None = None
    has_ctf: bool = True
    ctf_missing: tuple[str, ...] = ()
    declared_sign: int | None = None
    unused_columns: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    cryosparc_rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def subset(self, rows: np.ndarray) -> ParticleFile:
        """The given rows, in the given order; optics groups stay as they are."""
        rows = np.asarray(rows)
        index = torch.from_numpy(np.arange(len(self))[rows])
        return replace(
            self,
            rows=self.rows.iloc[rows].reset_index(drop=True),
            locations=self.locations.subset(rows),
            optics=self.optics[index],
            optics_group=self.optics_group[rows],
            poses=None if self.poses is None else self.poses[index],
            random_subset=None if self.random_subset is None else self.random_subset[rows],
            cryosparc_rows=None if self.cryosparc_rows is None else self.cryosparc_rows[rows],
        )

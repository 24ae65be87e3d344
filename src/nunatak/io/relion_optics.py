"""RELION's optics groups: which there are, with pixel size and box, also without an optics table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from nunatak.core.errors import InputError, require
from nunatak.io.mrc import read_stack_header
from nunatak.io.particle_file import ImageLocations
from nunatak.optics.ctf import CtfParameters

CTF_COLUMNS = {
    "defocus_u_A": "rlnDefocusU",
    "defocus_v_A": "rlnDefocusV",
    "astigmatism_angle_deg": "rlnDefocusAngle",
    "voltage_kV": "rlnVoltage",
    "spherical_aberration_mm": "rlnSphericalAberration",
    "amplitude_contrast": "rlnAmplitudeContrast",
    "phase_shift_deg": "rlnPhaseShift",
}


@dataclass(frozen=True)
class RelionTables:
    """A particle table with its optics table (None in RELION 3.0 and before), as read.

    Attributes
    ----------
    path : Path
    kind : str
    rows : DataFrame
    optics_rows : DataFrame or None
    warnings : tuple of str
    """

    path: Path
    kind: str
    rows: pd.DataFrame
    optics_rows: pd.DataFrame | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ParticleColumns:
    """Looks a column up among the optics groups, then among the particles: one value per particle."""

    path: Path
    rows: pd.DataFrame
    optics_rows: pd.DataFrame
    group: np.ndarray
    warnings: list[str] = field(default_factory=list)

    def has(self, name: str) -> bool:
        """Whether either table has the column."""
        return name in self.optics_rows or name in self.rows

    def get(self, name: str) -> np.ndarray | None:
        """(n,) float64 values, or None where the file has no such column; raises as `require` does."""
        return self.require(name) if self.has(name) else None

    def require(self, name: str) -> np.ndarray:
        """(n,) float64 values of a column that is there; raises InputError when one is no finite number."""
        if name in self.optics_rows:
            values = pd.to_numeric(self.optics_rows[name], errors="coerce").to_numpy(float)[self.group]
        else:
            values = pd.to_numeric(self.rows[name], errors="coerce").to_numpy(float)
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise InputError(
                f"{self.path}: {name} of {len(bad)} particles (first: row {bad[0] + 1}) is not a finite "
                "number; correct or remove these rows."
            )
        return values


def optics_groups(tables: RelionTables) -> tuple[pd.DataFrame, np.ndarray, list[str]]:
    """The optics table (made up for RELION 3.0), each particle's row in it, and warnings."""
    rows, optics = tables.rows, tables.optics_rows
    if optics is None:
        return _derived_groups(rows)
    if "rlnOpticsGroup" not in optics:
        optics = optics.assign(rlnOpticsGroup=np.arange(1, len(optics) + 1))
    if "rlnOpticsGroup" not in rows:
        require(
            len(optics) == 1, f"{tables.path} has {len(optics)} optics groups but no column rlnOpticsGroup."
        )
        note = "No column rlnOpticsGroup: all particles are in the only group."
        return optics, np.zeros(len(rows), np.int64), [note]
    numbers = optics["rlnOpticsGroup"].to_numpy()
    order = np.argsort(numbers, kind="stable")
    wanted = rows["rlnOpticsGroup"].to_numpy()
    place = order[np.clip(np.searchsorted(numbers[order], wanted), 0, len(numbers) - 1)]
    lost = np.flatnonzero(numbers[place] != wanted)
    if len(lost):
        raise InputError(
            f"{tables.path}: {len(lost)} particles (first: row {lost[0] + 1}) are in optics "
            f"group {wanted[lost[0]]}, which the optics table does not define; "
            f"it has {', '.join(map(str, numbers))}."
        )
    return optics.reset_index(drop=True), place.astype(np.int64), []


def _derived_groups(rows: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, list[str]]:
    """Optics groups of a table without optics: one for each combination of microscope settings."""
    names = ["rlnOpticsGroup", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"]
    names += ["rlnDetectorPixelSize", "rlnMagnification", "rlnImagePixelSize", "rlnImageSize"]
    keys = [name for name in names if name in rows]
    if not keys:
        return pd.DataFrame({"rlnOpticsGroup": [1]}), np.zeros(len(rows), np.int64), []
    grouped = rows.groupby(keys, sort=False, dropna=False)
    group = np.array(grouped.ngroup(), np.int64)
    optics = rows[keys].iloc[np.unique(group, return_index=True)[1]].reset_index(drop=True)
    optics = optics.drop(columns=["rlnDetectorPixelSize", "rlnMagnification"], errors="ignore")
    optics["rlnOpticsGroup"] = np.arange(1, len(optics) + 1)
    return optics, group, []


def pixel_sizes_A(
    columns: ParticleColumns, locations: ImageLocations, given_A: float | None
) -> tuple[float, ...]:
    """Pixel size of each group: given, from the file, or from the header of the group's first stack."""
    groups = len(columns.optics_rows)
    if given_A is not None:
        return (float(given_A),) * groups
    values = columns.get("rlnImagePixelSize")
    if values is None and (detector_um := columns.get("rlnDetectorPixelSize")) is not None:
        magnification = columns.get("rlnMagnification")
        if magnification is None:
            columns.warnings.append("No rlnMagnification: rlnDetectorPixelSize was taken as A per pixel.")
            magnification = np.full(len(detector_um), 1e4)
        values = detector_um * 1e4 / magnification
    if values is None:
        values = columns.get("rlnPixelSize")
    if values is None:
        of_group = [_stack_header_pixel_size(locations, columns.group, g) for g in range(groups)]
        values = np.array(of_group)[columns.group]
        if (values > 0).all():
            columns.warnings.append(
                f"No pixel size in the file: {values[0]:g} A of the stack's header was taken."
            )
    require(
        bool((values > 0).all()),
        f"{columns.path}: no pixel size above 0 in the file or in the stack's header; give --pixel-size-A.",
    )
    first = _first_row_of_groups(columns.group, groups)
    return tuple(float(values[i]) if i >= 0 else float(values[0]) for i in first)


def _first_row_of_groups(group: np.ndarray, groups: int) -> list[int]:
    """Row number of each group's first particle; -1 for a group without any."""
    present, index = np.unique(group, return_index=True)
    first = dict(zip(present.tolist(), index.tolist(), strict=True))
    return [first.get(g, -1) for g in range(groups)]


def _first_stack(locations: ImageLocations, group: np.ndarray, wanted: int) -> Path | None:
    """The first stack of a group that was found."""
    for i in pd.unique(locations.stack_of_row[group == wanted]):
        if locations.stack_paths[i] is not None:
            return locations.stack_paths[i]
    return None


def _stack_header_pixel_size(locations: ImageLocations, group: np.ndarray, wanted: int) -> float:
    path = _first_stack(locations, group, wanted)
    return read_stack_header(path).pixel_size_A if path is not None else 0.0


def boxes_px(optics_rows: pd.DataFrame, locations: ImageLocations, group: np.ndarray) -> tuple[int, ...]:
    """Box of each group: rlnImageSize, else that of its first stack, else 0."""
    if "rlnImageSize" in optics_rows:
        return tuple(int(size) for size in optics_rows["rlnImageSize"])
    paths = [_first_stack(locations, group, g) for g in range(len(optics_rows))]
    return tuple(0 if path is None else read_stack_header(path).width_px for path in paths)


def complete_optics_table(
    optics_rows: pd.DataFrame,
    group: np.ndarray,
    optics: CtfParameters,
    pixel_sizes_A: tuple[float, ...],
    boxes_px: tuple[int, ...],
) -> pd.DataFrame:
    """The optics table with everything that RELION 3.1 wants in it."""
    table = optics_rows.copy()
    if "rlnOpticsGroupName" not in table:
        table["rlnOpticsGroupName"] = [f"opticsGroup{number}" for number in table["rlnOpticsGroup"]]
    first = np.maximum(_first_row_of_groups(group, len(table)), 0)
    for key in ("voltage_kV", "spherical_aberration_mm", "amplitude_contrast"):
        values = getattr(optics, key).double().numpy()[first].round(6)
        if CTF_COLUMNS[key] not in table and len(values):
            table[CTF_COLUMNS[key]] = values
    table["rlnImagePixelSize"] = pixel_sizes_A
    table["rlnImageSize"] = boxes_px
    if "rlnImageDimensionality" not in table:
        table["rlnImageDimensionality"] = 2
    return table

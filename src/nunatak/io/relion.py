"""What RELION's tables mean: optics groups, CTF, poses and half-sets, in 3.0 and in 3.1 and later form."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from nunatak.core.errors import require
from nunatak.geometry.poses import Poses
from nunatak.geometry.rotations import euler_from_matrices, matrices_from_euler
from nunatak.io.locate import locate_images
from nunatak.io.particle_file import ParticleFile, ReadOptions
from nunatak.io.relion_optics import (
    CTF_COLUMNS,
    ParticleColumns,
    RelionTables,
    boxes_px,
    complete_optics_table,
    optics_groups,
    pixel_sizes_A,
)
from nunatak.optics.ctf import CtfParameters

ANGLES = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
_NEEDED_FOR_CTF = ("defocus_u_A", "voltage_kV", "spherical_aberration_mm")
# With these the formula of optics.ctf gives 1 at every frequency: no second path is needed without a CTF.
_NO_CTF = dict.fromkeys(CTF_COLUMNS, 0.0) | {"voltage_kV": 300.0, "amplitude_contrast": 1.0}
# Columns that change the images in a way that is not modelled, with the value that means "nothing".
_NOT_MODELLED = {
    "rlnBeamTiltX": 0.0,
    "rlnBeamTiltY": 0.0,
    "rlnBeamTiltClass": 0.0,
    "rlnOddZernike": 0.0,
    "rlnEvenZernike": 0.0,
    "rlnMagMat00": 1.0,
    "rlnMagMat01": 0.0,
    "rlnMagMat10": 0.0,
    "rlnMagMat11": 1.0,
    "rlnCtfBfactor": 0.0,
    "rlnCtfScalefactor": 1.0,
}


def interpret(tables: RelionTables, options: ReadOptions) -> ParticleFile:
    """Turn RELION's tables into a ParticleFile.

    Raises
    ------
    InputError
        No rows, no image names, subtomograms, pre-multiplied or phase-flipped images, an optics group without
        definition, or no pixel size anywhere.
    """
    _refuse_what_is_not_supported(tables)
    rows = tables.rows
    locations, location_warnings = locate_images(rows["rlnImageName"], tables.path.parent, options.datadir)
    optics_rows, group, group_warnings = optics_groups(tables)
    columns = ParticleColumns(tables.path, rows, optics_rows, group, [*location_warnings, *group_warnings])
    pixel_sizes = pixel_sizes_A(columns, locations, options.pixel_size_A)
    boxes = boxes_px(optics_rows, locations, group)
    optics, missing = _ctf(columns, options)
    optics_rows = complete_optics_table(optics_rows, group, optics, pixel_sizes, boxes)
    return ParticleFile(
        path=tables.path,
        kind=tables.kind,
        rows=rows,
        optics_rows=optics_rows,
        locations=locations,
        optics=optics,
        optics_group=group,
        group_names=tuple(optics_rows["rlnOpticsGroupName"].astype(str)),
        group_pixel_size_A=pixel_sizes,
        group_box_px=boxes,
        poses=_poses(columns, np.asarray(pixel_sizes)[group]),
        random_subset=_random_subset(columns),
        has_ctf=not missing and not options.no_ctf,
        ctf_missing=missing,
        unused_columns=_not_modelled(columns),
        warnings=(*tables.warnings, *columns.warnings),
    )


def pose_columns(poses: Poses) -> dict[str, np.ndarray]:
    """RELION's pose columns: rlnAngleRot, Tilt, Psi in degrees and rlnOriginX, YAngst in A."""
    angles = euler_from_matrices(poses.rotations).numpy(force=True)
    shifts = poses.shifts_A.double().numpy(force=True)
    named = {name: angles[:, i].round(6) for i, name in enumerate(ANGLES)}
    return named | {f"rlnOrigin{axis}Angst": shifts[:, i].round(6) for i, axis in enumerate("XY")}


def _refuse_what_is_not_supported(tables: RelionTables) -> None:
    path, rows = tables.path, tables.rows
    optics = tables.optics_rows if tables.optics_rows is not None else pd.DataFrame()
    require(
        "rlnImageName" in rows, f"{path} has no column rlnImageName, so there are no particle images in it."
    )
    require(len(rows) > 0, f"{path} is empty: at least two particles were expected, found none.")

    def any_equal(name: str, value: int) -> bool:
        return any(name in table and bool((table[name] == value).any()) for table in (optics, rows))

    tomographic = any(name in rows for name in ("rlnTomoName", "rlnTomoParticleName", "rlnOriginZAngst"))
    three_dimensional = any_equal("rlnImageDimensionality", 3)
    reconstructed = "rlnCoordinateZ" in rows and "@" not in str(rows["rlnImageName"].iloc[0])
    require(
        not (tomographic or three_dimensional or reconstructed),
        f"{path} lists subtomograms: single particles were expected; export two-dimensional images.",
    )
    for name, state in (
        ("rlnCtfDataAreCtfPremultiplied", "multiplied by their CTF"),
        ("rlnCtfDataArePhaseFlipped", "phase-flipped"),
    ):
        require(
            not any_equal(name, 1),
            f"{path} says that the images are {state} ({name} = 1): raw images are needed; "
            "extract them again without.",
        )


def _ctf(columns: ParticleColumns, options: ReadOptions) -> tuple[CtfParameters, tuple[str, ...]]:
    """CTF parameters per particle, and the names of columns whose absence makes a CTF impossible."""
    count, given = len(columns.rows), options.optics.stated()
    if "defocus_u_A" in given:
        given = {"defocus_v_A": given["defocus_u_A"], **given}
    known = [key for key, name in CTF_COLUMNS.items() if key in given or columns.has(name)]
    missing = tuple(CTF_COLUMNS[key] for key in _NEEDED_FOR_CTF if key not in known)
    if missing or options.no_ctf:
        return _parameters({key: np.full(count, value) for key, value in _NO_CTF.items()}), missing
    found = _defaults(columns, count, known)
    for key in known:
        found[key] = columns.require(CTF_COLUMNS[key]) if key not in given else np.full(count, given[key])
        if key in given and columns.has(CTF_COLUMNS[key]):
            columns.warnings.append(
                f"{CTF_COLUMNS[key]} of the file is replaced by the {given[key]:g} that was given."
            )
    if "defocus_v_A" not in known:
        found["defocus_v_A"] = found["defocus_u_A"]
    _check_ranges(columns, found)
    return _parameters(found), ()


def _defaults(columns: ParticleColumns, count: int, known: list[str]) -> dict[str, np.ndarray]:
    """Values of optional columns that are not there, with a warning where the value is a guess."""
    if "defocus_v_A" not in known:
        columns.warnings.append("No rlnDefocusV: no astigmatism was taken.")
    if "amplitude_contrast" not in known:
        columns.warnings.append("No rlnAmplitudeContrast: 0.1 was taken; --amplitude-contrast sets another.")
    values = {"astigmatism_angle_deg": 0.0, "phase_shift_deg": 0.0, "amplitude_contrast": 0.1}
    return {key: np.full(count, value) for key, value in values.items()}


def _check_ranges(columns: ParticleColumns, found: dict[str, np.ndarray]) -> None:
    """Values that no microscope has are refused or warned of: they come from mixed-up units."""
    voltage = found["voltage_kV"]
    require(
        bool(((voltage >= 50) & (voltage <= 3000)).all()),
        f"{columns.path}: rlnVoltage in kV between 50 and 3000 was expected, found {voltage.min():g} to "
        f"{voltage.max():g}; correct it or give --voltage-kV.",
    )
    contrast = found["amplitude_contrast"]
    require(
        bool(((contrast >= 0) & (contrast <= 1)).all()),
        f"{columns.path}: rlnAmplitudeContrast between 0 and 1 was expected, found {contrast.min():g} to "
        f"{contrast.max():g}; correct it or give --amplitude-contrast.",
    )
    defocus = found["defocus_u_A"]
    if np.median(np.abs(defocus)) < 100:
        columns.warnings.append(
            f"The median defocus is {np.median(defocus):g} A, far below the usual 5,000 to 40,000: is that A?"
        )
    elif np.median(defocus) < 0:
        columns.warnings.append(
            "The defocus is negative (overfocus): underfocus is positive here, as in RELION."
        )


def _parameters(values: dict[str, np.ndarray]) -> CtfParameters:
    return CtfParameters(**{key: torch.from_numpy(value.astype(np.float32)) for key, value in values.items()})


def _poses(columns: ParticleColumns, pixel_size_A: np.ndarray) -> Poses | None:
    """Poses where the three angles are there; shifts of RELION 3.0 are in pixels."""
    if not all(columns.has(name) for name in ANGLES):
        return None
    angles = np.stack([columns.require(name) for name in ANGLES], 1)
    if len(angles) > 1 and not angles[:, :2].any():
        columns.warnings.append(
            "All rot and tilt angles are 0: these are poses of a 2D classification, not of a map."
        )
    shifts_A = np.stack([_shift_A(columns, axis, pixel_size_A) for axis in "XY"], 1)
    rotations = matrices_from_euler(torch.from_numpy(angles)).float()
    return Poses(rotations, torch.from_numpy(shifts_A).float())


def _shift_A(columns: ParticleColumns, axis: str, pixel_size_A: np.ndarray) -> np.ndarray:
    if columns.has(f"rlnOrigin{axis}Angst"):
        return columns.require(f"rlnOrigin{axis}Angst")
    if columns.has(f"rlnOrigin{axis}"):
        return columns.require(f"rlnOrigin{axis}") * pixel_size_A
    columns.warnings.append(f"Angles but no rlnOrigin{axis}Angst: no shift along {axis} was taken.")
    return np.zeros(len(columns.rows))


def _random_subset(columns: ParticleColumns) -> np.ndarray | None:
    """Half-set numbers, where the file has two half-sets."""
    values = columns.get("rlnRandomSubset")
    if values is None or set(np.unique(values)) != {1.0, 2.0}:
        return None
    return values.astype(np.int64)


def _not_modelled(columns: ParticleColumns) -> tuple[str, ...]:
    """Names of columns that matter, are not modelled, and say something other than 'nothing'."""
    found = []
    for name, nothing in _NOT_MODELLED.items():
        table = columns.optics_rows if name in columns.optics_rows else columns.rows
        if name not in table:
            continue
        numbers = pd.to_numeric(table[name], errors="coerce")
        if (numbers.isna() & table[name].notna()).any() or bool((numbers.dropna() != nothing).any()):
            found.append(name)
    if found:
        columns.warnings.append(f"Not used, but kept: {', '.join(found)}.")
    return tuple(found)

"""cryoSPARC .cs particle files: reading with the passthrough, and writing all fields back with new poses.

cryoSPARC's pose is a rotation vector whose matrix turns the image into the volume frame, the transpose of
ours; its shift has our sign but counts pixels of a pixel size of its own. Tested against the conversions of
cryoDRGN and pyem.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import roma
import torch

from nunatak.core.errors import InputError, require
from nunatak.geometry.rotations import euler_from_matrices, matrices_from_euler
from nunatak.io.atomic import atomic_path, write_text
from nunatak.io.particle_file import ParticleFile, ReadOptions
from nunatak.io.relion import ANGLES, interpret
from nunatak.io.relion_optics import RelionTables

_CTF_FIELDS = {
    "rlnDefocusU": ("ctf/df1_A", 1.0),
    "rlnDefocusV": ("ctf/df2_A", 1.0),
    "rlnDefocusAngle": ("ctf/df_angle_rad", 180 / np.pi),
    "rlnPhaseShift": ("ctf/phase_shift_rad", 180 / np.pi),
}
_OPTICS_FIELDS = {
    "rlnVoltage": "ctf/accel_kv",
    "rlnSphericalAberration": "ctf/cs_mm",
    "rlnAmplitudeContrast": "ctf/amp_contrast",
    "rlnImagePixelSize": "blob/psize_A",
}
_NOT_MODELLED = ("ctf/tilt_A", "ctf/trefoil_A", "ctf/tetra_A", "ctf/anisomag", "ctf/shift_A", "ctf/bfactor")
_WRITTEN_FIELDS = {
    "alignments3D/pose": ("<f4", (3,)),
    "alignments3D/shift": ("<f4", (2,)),
    "alignments3D/psize_A": "<f4",
    "alignments3D/split": "<u4",
    "alignments3D/class": "<u4",
}


def read_cryosparc(path: Path | str, options: ReadOptions | None = None) -> ParticleFile:
    """Read a .cs file, or the .csg that names it, with the passthrough file that belongs to it.

    The passthrough is `options.passthrough`, or what a .csg beside the file names, or what lies beside it
    under cryoSPARC's naming. Rows are joined by uid, in the order of the main file.

    Raises
    ------
    InputError
        A file is missing or in the streaming format, has no image paths, or the passthrough lacks particles.
    """
    path, options = Path(path), options or ReadOptions()
    main, companions = _find_files(path, options.passthrough)
    fields = _load(main)
    for companion in companions:
        fields = _merge(fields, _load(companion), main, companion)
    require(
        "blob/path" in _names(fields) and "blob/idx" in _names(fields),
        f"{main} has no fields blob/path and blob/idx, so it holds no particle images: give the particles of "
        "the job, or its passthrough file as --passthrough.",
    )
    require(len(fields) > 0, f"{main} is empty: at least two particles were expected, found none.")
    optics_rows, group = _optics_table(fields)
    rows = _relion_rows(fields)
    rows["rlnOpticsGroup"] = group + 1
    notes = tuple(f"{companion.name} was joined by uid." for companion in companions)
    file = interpret(RelionTables(main, "cryoSPARC", rows, optics_rows, notes), options)
    sign, sign_notes = _declared_sign(fields)
    unused = tuple(name for name in _NOT_MODELLED if name in _names(fields) and np.any(fields[name] != 0))
    kept = (f"Not used, but kept: {', '.join(unused)}.",) if unused else ()
    return replace(
        file,
        cryosparc_rows=fields,
        declared_sign=sign,
        unused_columns=unused,
        warnings=(*file.warnings, *sign_notes, *kept),
    )


def write_particles_cs(path: Path | str, particles: ParticleFile, added: dict[str, np.ndarray]) -> None:
    """Write particles that came from cryoSPARC as .cs, with a .csg: same rows, same order, all fields kept.

    Parameters
    ----------
    path : Path
    particles : ParticleFile
    added : dict of (n,) arrays
        The same columns as for write_particles_star. Poses go to alignments3D, rlnRandomSubset to its split,
        rlnClassNumber to its class, own columns (nunatakJunk) to fields of their own (nunatak/junk). Image
        paths stay as cryoSPARC wrote them, relative to its project.

    Raises
    ------
    InputError
        The particles did not come from a .cs file, or a column has another number of rows.
    """
    source = particles.cryosparc_rows
    if source is None:
        raise InputError(
            f"{particles.path} is no cryoSPARC file: only what came as .cs can be written as .cs."
        )
    for name, values in added.items():
        require(
            len(values) == len(source), f"Column {name} has {len(values)} values for {len(source)} particles."
        )
    columns = _cryosparc_columns(added, np.asarray(particles.group_pixel_size_A)[particles.optics_group])
    write_fields(path, _with_fields(source, columns))


def read_fields(path: Path | str) -> np.ndarray:
    """The structured array of a .cs file in numpy format, as it stands.

    Raises
    ------
    InputError
        The file is missing, unreadable, in the streaming format, or has no field uid.
    """
    return _load(Path(path))


def write_fields(path: Path | str, fields: np.ndarray) -> None:
    """Write rows of a .cs file as they are, with the .csg that lets cryoSPARC import them."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, fields, allow_pickle=False)
    write_text(Path(path).with_suffix(".csg"), _group_text(Path(path).name, fields))


def _find_files(path: Path, passthrough: Path | None) -> tuple[Path, list[Path]]:
    """The main file and the files to join to it."""
    require(path.is_file(), f"{path} does not exist: check the path of the .cs file.")
    if path.suffix == ".csg":
        members = _group_members(path)
        main = next((m for m in members if m.is_file() and "blob/path" in _names(_load(m))), None)
        if main is None:
            raise InputError(f"{path} names no .cs file beside it that holds particle images.")
        others = [m for m in members if m != main and m.is_file()]
        return main, [passthrough] if passthrough is not None else others
    if passthrough is not None:
        return path, [passthrough]
    for group in sorted(path.parent.glob("*.csg")):
        members = _group_members(group)
        if path in members:
            return path, [member for member in members if member != path and member.is_file()]
    # cryosparc_P2_J744_005_particles.cs goes with P2_J744_passthrough_particles.cs
    match = re.fullmatch(r"(?:cryosparc_)?(P\d+_J\d+|J\d+)(?:_[^_]+)*_particles.*\.cs", path.name)
    named = path.with_name(f"{match[1]}_passthrough_particles.cs") if match else None
    return path, [named] if named is not None and named.is_file() and named != path else []


def _group_members(group: Path) -> list[Path]:
    """The .cs files that a .csg names, each once; the file is YAML, of which this one line matters."""
    names = re.findall(
        r"metafile:\s*['\"]?>?([^'\"\n]+)", group.read_text(encoding="utf-8", errors="replace")
    )
    return [group.parent / name.strip() for name in dict.fromkeys(names)]


def _load(path: Path) -> np.ndarray:
    """The structured array of a .cs file."""
    require(path.is_file(), f"{path} does not exist: check the path of the .cs file.")
    with path.open("rb") as handle:
        start = handle.read(8)
    require(
        b"CSDAT" not in start,
        f"{path} is in cryoSPARC's streaming format: its numpy format was expected; export the outputs, "
        "or save it again with cryosparc-tools: Dataset.load(A).save(B, format=1).",
    )
    try:
        fields = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as fault:
        raise InputError(f"{path} is no readable .cs file in numpy format: export it again.") from fault
    require(
        isinstance(fields, np.ndarray) and "uid" in _names(fields),
        f"{path} is no .cs file: a table with the field uid was expected.",
    )
    return np.atleast_1d(fields)


def _names(fields: np.ndarray) -> tuple[str, ...]:
    return fields.dtype.names or ()


def _merge(main: np.ndarray, other: np.ndarray, path: Path, companion: Path) -> np.ndarray:
    """Main rows with the fields that only the other has, joined by uid."""
    new = [name for name in _names(other) if name not in _names(main)]
    if not new:
        return main
    order = np.argsort(other["uid"], kind="stable")
    if len(order):
        place = order[np.clip(np.searchsorted(other["uid"][order], main["uid"]), 0, len(order) - 1)]
        lost = int(np.sum(other["uid"][place] != main["uid"]))
    else:
        place, lost = order, len(main)
    require(
        lost == 0,
        f"{companion} lacks {lost} of the {len(main)} particles of {path}: give the file of the same job.",
    )
    return _with_fields(main, {name: other[name][place] for name in new}, other.dtype)


def _with_fields(
    source: np.ndarray, columns: dict[str, np.ndarray], types: np.dtype | None = None
) -> np.ndarray:
    """A copy of a structured array with columns replaced or appended."""
    description: list[tuple] = [(name, source.dtype[name]) for name in _names(source)]
    for name, values in columns.items():
        if name not in _names(source):
            known = types[name] if types is not None else _WRITTEN_FIELDS.get(name, values.dtype)
            description.append((name, known))
    result = np.zeros(len(source), dtype=description)
    for name in _names(source):
        result[name] = source[name]
    for name, values in columns.items():
        result[name] = values
    return result


def _text(values: np.ndarray) -> np.ndarray:
    return np.char.decode(values, "utf-8", "replace") if values.dtype.kind == "S" else values.astype(str)


def _relion_rows(fields: np.ndarray) -> pd.DataFrame:
    """The particle table in RELION's names, float64."""
    has = set(_names(fields)).__contains__
    numbers = np.char.zfill((fields["blob/idx"].astype(np.int64) + 1).astype(str), 6)
    paths = np.char.lstrip(_text(fields["blob/path"]), ">")
    columns: dict[str, np.ndarray] = {"rlnImageName": np.char.add(np.char.add(numbers, "@"), paths)}
    if has("location/micrograph_path"):
        columns["rlnMicrographName"] = np.char.lstrip(_text(fields["location/micrograph_path"]), ">")
    if has("location/center_x_frac") and has("location/micrograph_shape"):
        shape = fields["location/micrograph_shape"].astype(float)
        columns["rlnCoordinateX"] = fields["location/center_x_frac"].astype(float) * shape[:, 1]
        columns["rlnCoordinateY"] = fields["location/center_y_frac"].astype(float) * shape[:, 0]
    for name, (field, factor) in _CTF_FIELDS.items():
        if has(field):
            columns[name] = fields[field].astype(float) * factor
    if has("alignments3D/pose"):
        columns |= _relion_poses(fields)
    for name, field in {
        "rlnRandomSubset": "alignments3D/split",
        "rlnClassNumber": "alignments3D/class",
    }.items():
        if has(field):
            columns[name] = fields[field].astype(np.int64) + 1
    return pd.DataFrame(columns)


def _relion_poses(fields: np.ndarray) -> dict[str, np.ndarray]:
    vectors = torch.from_numpy(fields["alignments3D/pose"].astype(float))
    angles = euler_from_matrices(roma.rotvec_to_rotmat(vectors).transpose(-1, -2)).numpy()
    name = "alignments3D/psize_A" if "alignments3D/psize_A" in _names(fields) else "blob/psize_A"
    shifts_A = fields["alignments3D/shift"].astype(float) * fields[name].astype(float)[:, None]
    columns = {column: angles[:, i] for i, column in enumerate(ANGLES)}
    return columns | {"rlnOriginXAngst": shifts_A[:, 0], "rlnOriginYAngst": shifts_A[:, 1]}


def _optics_table(fields: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """One optics group for each combination of exposure group, pixel size, box and microscope settings."""
    columns = {}
    if "ctf/exp_group_id" in _names(fields):
        columns["exposure_group"] = fields["ctf/exp_group_id"].astype(np.int64)
    for name, field in _OPTICS_FIELDS.items():
        if field in _names(fields):
            # float32 prints as 0.07000000029802322; the decimal that was meant has at most six digits.
            columns[name] = fields[field].astype(float).round(6)
    if "blob/shape" in _names(fields):
        columns["rlnImageSize"] = fields["blob/shape"][:, 1].astype(np.int64)
    table = pd.DataFrame(columns, index=range(len(fields)))
    if table.empty:
        return pd.DataFrame({"rlnOpticsGroup": [1]}), np.zeros(len(fields), np.int64)
    group = np.array(table.groupby(list(columns), sort=False).ngroup(), np.int64)
    optics = table.iloc[np.unique(group, return_index=True)[1]].reset_index(drop=True)
    optics = optics.drop(columns="exposure_group", errors="ignore")
    optics.insert(0, "rlnOpticsGroup", np.arange(1, len(optics) + 1))
    return optics, group


def _declared_sign(fields: np.ndarray) -> tuple[int | None, tuple[str, ...]]:
    """-1 or +1 where blob/sign has one value for all particles."""
    if "blob/sign" not in _names(fields) or not len(fields):
        return None, ()
    signs = np.unique(np.sign(fields["blob/sign"]))
    if len(signs) == 1 and signs[0] != 0:
        return int(signs[0]), ()
    return None, ("blob/sign differs between particles: it was not used.",)


def _cryosparc_columns(added: dict[str, np.ndarray], pixel_size_A: np.ndarray) -> dict[str, np.ndarray]:
    """RELION-named columns as cryoSPARC fields."""
    columns = {}
    if all(name in added for name in ANGLES):
        angles = torch.from_numpy(np.stack([np.asarray(added[name], float) for name in ANGLES], 1))
        rotations = matrices_from_euler(angles).transpose(-1, -2)
        columns["alignments3D/pose"] = roma.rotmat_to_rotvec(rotations).numpy().astype(np.float32)
    if "rlnOriginXAngst" in added and "rlnOriginYAngst" in added:
        shifts = np.stack([np.asarray(added[f"rlnOrigin{axis}Angst"], float) for axis in "XY"], 1)
        columns["alignments3D/shift"] = (shifts / pixel_size_A[:, None]).astype(np.float32)
        columns["alignments3D/psize_A"] = pixel_size_A.astype(np.float32)
    for name, field in {
        "rlnRandomSubset": "alignments3D/split",
        "rlnClassNumber": "alignments3D/class",
    }.items():
        if name in added:
            columns[field] = (np.asarray(added[name]).astype(np.int64) - 1).clip(0).astype(np.uint32)
    for name in added:
        if name.startswith("nunatak"):
            words = re.sub(r"(?<!^)(?=[A-Z])", "_", name.removeprefix("nunatak")).lower()
            columns[f"nunatak/{words}"] = np.asarray(added[name])
    return columns


def _group_text(name: str, fields: np.ndarray) -> str:
    """The .csg that lets cryoSPARC import the file as a result group."""
    kinds = dict.fromkeys(field.split("/")[0] for field in _names(fields) if "/" in field)
    lines = ["group:", "  description: Written by Nunatak", "  name: particles", "  title: Nunatak particles"]
    lines += ["  type: particle", "results:"]
    for kind in kinds:
        if kind != "nunatak":
            lines += [f"  {kind}:", f"    metafile: '>{name}'", f"    num_items: {len(fields)}"]
            lines += [f"    type: particle.{kind}"]
    return "\n".join([*lines, "version: v4.0.0"]) + "\n"

"""RELION .star particle files: reading 1.x to 5, writing 3.1 with every input row and column."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import starfile

from nunatak.core.errors import InputError, require
from nunatak.io.atomic import atomic_path
from nunatak.io.particle_file import ParticleFile, ReadOptions
from nunatak.io.relion import interpret
from nunatak.io.relion_optics import RelionTables

# Columns of names: one that happens to look like a number (0012) must come back as it was.
_TEXT_COLUMNS = [
    "rlnImageName",
    "rlnImageOriginalName",
    "rlnMicrographName",
    "rlnMicrographOriginalName",
    "rlnMicrographMovieName",
    "rlnGroupName",
    "rlnOpticsGroupName",
    "rlnCtfImage",
    "rlnMtfFileName",
    "rlnReconstructImageName",
    "rlnTomoName",
    "rlnTomoParticleName",
    "rlnBodyStarFile",
]


def read_star(path: Path | str, options: ReadOptions | None = None) -> ParticleFile:
    """Read a particle .star file (or .star.gz) of RELION 1 to 5, or of a program that writes like it.

    Raises
    ------
    InputError
        The file is missing, is no star file, or holds no single-particle images; see relion.interpret.
    """
    path = Path(path)
    return interpret(read_star_tables(path), options or ReadOptions())


def read_star_tables(path: Path) -> RelionTables:
    """The particle table and the optics table of a star file, as they stand."""
    blocks = {name: block for name, block in _read_blocks(path).items() if block is not None}
    tables = {name: _as_table(block) for name, block in blocks.items()}
    with_images = [name for name, table in tables.items() if "rlnImageName" in table]
    held = ", ".join(f"data_{name}" for name in tables) or "no data block"
    require(
        bool(with_images),
        f"{path} is no particle file: a table with the column rlnImageName was expected, found {held}.",
    )
    chosen = "particles" if "particles" in with_images else with_images[0]
    notes: tuple[str, ...] = ()
    if len(with_images) > 1:
        notes = (f"{len(with_images)} tables have images; data_{chosen} was read.",)
    optics = next(
        (t for name, t in tables.items() if name not in with_images and "rlnOpticsGroup" in t), None
    )
    kind = (
        "RELION star without optics table (3.0 or before)" if optics is None else "RELION star (3.1 or later)"
    )
    return RelionTables(path, kind, tables[chosen], optics, notes)


def write_particles_star(
    path: Path | str,
    particles: ParticleFile,
    added: dict[str, np.ndarray],
    *,
    keep_names: bool = False,
) -> None:
    """Write a RELION 3.1 star file: every row in order, all columns kept, `added` replaced or appended.

    Image names point to where the stacks were found, as absolute paths, so that RELION (which resolves
    against its working folder) and programs that resolve against the star file read the same images; the part
    before the @ stays as it was. Names of stacks that were not found stay as they were.

    Parameters
    ----------
    path : Path
    particles : ParticleFile
    added : dict of (n,) arrays
        RELION names with units as in 3.1 (degrees, A), or own names.
    keep_names : bool
        Leave the image names as the input had them.

    Raises
    ------
    InputError
        An added column has another number of rows.
    """
    rows = particles.rows.copy()
    for name, values in added.items():
        require(
            len(values) == len(rows),
            f"Column {name} has {len(values)} values for {len(rows)} particles: cannot write.",
        )
        rows[name] = np.asarray(values)
    pixel_size_A = np.asarray(particles.group_pixel_size_A)[particles.optics_group]
    for axis in "XY":
        # RELION 3.0's column in pixels would contradict the new one.
        if f"rlnOrigin{axis}Angst" in added and f"rlnOrigin{axis}" in rows:
            rows[f"rlnOrigin{axis}"] = np.asarray(added[f"rlnOrigin{axis}Angst"]) / pixel_size_A
    rows["rlnOpticsGroup"] = particles.optics_rows["rlnOpticsGroup"].to_numpy()[particles.optics_group]
    if not keep_names:
        rows["rlnImageName"] = absolute_image_names(particles)
    write_star_tables(path, {"optics": particles.optics_rows, "particles": rows})


def write_star_tables(path: Path | str, tables: dict[str, pd.DataFrame]) -> None:
    """Write named tables as a star file, atomically, each number with all its digits."""
    with atomic_path(path) as temporary:
        starfile.write(
            tables,
            temporary,
            float_format=None,
            na_rep="nan",
        )
        _without_time(temporary)


def _without_time(path: Path) -> None:
    """Overwrite the library's first line, which holds the time: equal particles make equal files."""
    with path.open("r+b") as file:
        first = file.readline()
        if first.startswith(b"#"):
            file.seek(0)
            file.write(b"# Written by Nunatak".ljust(len(first) - 1)[: len(first) - 1])


def absolute_image_names(particles: ParticleFile) -> pd.Series:
    """Image names with the absolute paths of the stacks that were found."""
    locations = particles.locations
    paths = [
        str(path) if path is not None else name
        for name, path in zip(locations.stack_names, locations.stack_paths, strict=True)
    ]
    parts = particles.rows["rlnImageName"].astype(str).str.rpartition("@")
    return parts[0] + parts[1] + pd.Series(paths).iloc[locations.stack_of_row].to_numpy()


def _read_blocks(path: Path) -> dict[str, pd.DataFrame | dict]:
    require(path.is_file(), f"{path} does not exist: check the path of the star file.")
    if path.suffix == ".gz":
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / path.stem
            try:
                with gzip.open(path) as packed, plain.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
            except (OSError, EOFError) as fault:
                raise InputError(f"{path} cannot be unpacked as gzip: {fault}.") from fault
            return _parse(plain, path)
    return _parse(path, path)


def _parse(plain: Path, path: Path) -> dict[str, pd.DataFrame | dict]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return starfile.read(plain, always_dict=True, parse_as_string=_TEXT_COLUMNS)
    except (ValueError, KeyError, IndexError, TypeError, OSError) as fault:
        reason = " ".join(str(fault).split())
        raise InputError(
            f"{path} is no readable star file ({reason}): tables of equally long rows were expected."
        ) from fault


def _as_table(block: pd.DataFrame | dict) -> pd.DataFrame:
    """A block without loop_ is a table of one row."""
    return pd.DataFrame([block]) if isinstance(block, dict) else block

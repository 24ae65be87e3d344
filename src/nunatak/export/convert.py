"""Poses and CTFs between cryoDRGN, RELION and cryoSPARC."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nunatak.core.errors import InputError, require
from nunatak.geometry.poses import Poses
from nunatak.io.atomic import write_npy
from nunatak.io.cryodrgn import CTF_COLUMNS, CryodrgnArrays, cryodrgn_arrays, read_cryodrgn, write_npz
from nunatak.io.cryosparc import write_particles_cs
from nunatak.io.particle_file import GivenOptics, ParticleFile, ReadOptions
from nunatak.io.relion import pose_columns
from nunatak.io.star import write_particles_star
from nunatak.particles.reading import read_particle_file

_FOREIGN = (".pkl", ".npz")
_CTF_STAR = {
    "defocus_u_A": "rlnDefocusU",
    "defocus_v_A": "rlnDefocusV",
    "astigmatism_angle_deg": "rlnDefocusAngle",
    "phase_shift_deg": "rlnPhaseShift",
}


@dataclass(frozen=True)
class Conversion:
    """What is converted into what.

    Attributes
    ----------
    source : Path
        A particle file, or cryoDRGN's .pkl or .npz.
    out : Path
        .star, .cs, .npz or .npy.
    particles : Path or None
        Particle file that arrays from cryoDRGN are attached to.
    ctf : Path or None
        cryoDRGN's CTF table that goes with a file of poses.
    box_px : int or None
        Box of the images, where no file tells it.
    read : ReadOptions
    """

    source: Path
    out: Path
    particles: Path | None = None
    ctf: Path | None = None
    box_px: int | None = None
    read: ReadOptions = field(default_factory=ReadOptions)


def convert(wanted: Conversion) -> tuple[int, list[str]]:
    """Convert; how many particles, and what was written.

    Raises
    ------
    InputError
        The source cannot be read or lacks what the output needs, or the output has no place for it.
    """
    kind = wanted.out.suffix.lower()
    require(
        kind != ".pkl",
        f"{wanted.out} is a pickle, and none is ever written: ask for .npz or .npy, which numpy.load reads.",
    )
    require(kind in (".star", ".cs", ".npz", ".npy"), f"{wanted.out} should end in .star, .cs, .npz or .npy.")
    if wanted.source.suffix.lower() in _FOREIGN:
        arrays = _with_ctf(read_cryodrgn(wanted.source), wanted.ctf)
        if kind in (".npz", ".npy"):
            return _write_arrays(wanted.out, arrays)
        require(
            wanted.particles is not None,
            "Say with --particles which images these are of: a .star, .cs or stack in the same order.",
        )
        return _write_particles(wanted, arrays)
    file = read_particle_file(wanted.source, wanted.read)
    if kind in (".npz", ".npy"):
        arrays = cryodrgn_arrays(file, wanted.box_px)
        require(bool(arrays.stated()), f"{wanted.source} has neither poses nor a CTF to convert.")
        return _write_arrays(wanted.out, arrays)
    return _write_file(wanted.out, file, {} if file.poses is None else pose_columns(file.poses))


def _with_ctf(arrays: CryodrgnArrays, path: Path | None) -> CryodrgnArrays:
    if path is None:
        return arrays
    table = read_cryodrgn(path).ctf
    if table is None:
        raise InputError(f"{path} holds no CTF table (n, 9).")
    require(len(table) == len(arrays), f"{path} has {len(table)} rows, the poses {len(arrays)}.")
    return CryodrgnArrays(arrays.rotations, arrays.translations, table, arrays.latents)


def _write_arrays(out: Path, arrays: CryodrgnArrays) -> tuple[int, list[str]]:
    stated = arrays.stated()
    if out.suffix.lower() == ".npy":
        require(len(stated) == 1, f"{out} holds one array, but there are {', '.join(stated)}: ask for .npz.")
        write_npy(out, next(iter(stated.values())).astype(np.float32))
    else:
        write_npz(out, arrays)
    return len(arrays), list(stated)


def _write_particles(wanted: Conversion, arrays: CryodrgnArrays) -> tuple[int, list[str]]:
    if wanted.particles is None or arrays.latents is not None:
        raise InputError(
            f"{wanted.source} holds latents, which a particle file has no place for: ask for .npy."
        )
    file = read_particle_file(wanted.particles, _options_with_optics(wanted.read, arrays.ctf))
    require(
        len(file) == len(arrays),
        f"{wanted.source} is of {len(arrays)} particles, {wanted.particles} of {len(file)}: give the file "
        "of the same images.",
    )
    added: dict[str, NDArray] = {}
    if arrays.ctf is not None:
        added |= {star: arrays.ctf[:, CTF_COLUMNS.index(name)] for name, star in _CTF_STAR.items()}
    if arrays.rotations is not None:
        added |= pose_columns(_poses(arrays, file, wanted.box_px))
    return _write_file(wanted.out, file, added)


def _poses(arrays: CryodrgnArrays, file: ParticleFile, box_px: int | None) -> Poses:
    """Shifts are fractions of the box, so their length depends on no downsampling."""
    boxes_px = np.asarray(file.group_box_px)[file.optics_group]
    boxes_px = np.where(boxes_px > 0, boxes_px, box_px or 0)
    extent_A = boxes_px * np.asarray(file.group_pixel_size_A)[file.optics_group]
    shifts = arrays.translations
    require(
        shifts is None or bool((boxes_px > 0).all()),
        f"{file.path} does not tell the box, which the shifts are fractions of: give --box-px.",
    )
    shifts_A = np.zeros((len(arrays), 2)) if shifts is None else shifts * extent_A[:, None]
    return Poses(torch.from_numpy(np.array(arrays.rotations)), torch.from_numpy(shifts_A))


def _options_with_optics(read: ReadOptions, ctf: NDArray | None) -> ReadOptions:
    """What a CTF table says about the microscope, for files that do not say it themselves."""
    if ctf is None:
        return read
    fixed = ("pixel_size_A", "voltage_kV", "spherical_aberration_mm", "amplitude_contrast")
    values = {name: ctf[:, CTF_COLUMNS.index(name)] for name in fixed}
    for name, column in values.items():
        require(
            bool(np.ptp(column) < 1e-4 * max(float(np.abs(column).max()), 1.0)),
            f"The CTF table has several values of {name}: convert the optics groups one by one.",
        )
    first = {name: round(float(column[0]), 5) for name, column in values.items()}
    optics = GivenOptics(
        voltage_kV=first["voltage_kV"],
        spherical_aberration_mm=first["spherical_aberration_mm"],
        amplitude_contrast=first["amplitude_contrast"],
        defocus_u_A=float(ctf[0, 2]),
        defocus_v_A=float(ctf[0, 3]),
        astigmatism_angle_deg=float(ctf[0, 4]),
    )
    return ReadOptions(read.datadir, read.pixel_size_A, optics, False, read.passthrough)


def _write_file(out: Path, file: ParticleFile, added: dict[str, NDArray]) -> tuple[int, list[str]]:
    if out.suffix.lower() == ".cs":
        require(
            file.cryosparc_rows is not None,
            f"{file.path} is no cryoSPARC file: only what came as .cs can be written as .cs; ask for .star.",
        )
        write_particles_cs(out, file, added)
    else:
        write_particles_star(out, file, added)
    return len(file), list(added)

"""cryoDRGN's poses, CTFs and latents: read from its pickles without unpickling, or .npz; written as .npz.

Its rotation is ours (convention 2): image axes as rows in the volume frame. Its translation is ours over the
box (convention 3): a fraction, whatever the box the images were cropped to. Its CTF table has nine columns.
Pickles are read and never written: `numpy.load` gives the arrays of an .npz, and one line pickles them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunatak.core.errors import InputError, require
from nunatak.io.atomic import atomic_path
from nunatak.io.particle_file import ParticleFile
from nunatak.io.pickled_arrays import read_pickled_arrays

CTF_COLUMNS = (
    *("box_px", "pixel_size_A", "defocus_u_A", "defocus_v_A", "astigmatism_angle_deg", "voltage_kV"),
    *("spherical_aberration_mm", "amplitude_contrast", "phase_shift_deg"),
)
_ARRAYS = ("rotations", "translations", "ctf", "latents")


@dataclass(frozen=True, eq=False)
class CryodrgnArrays:
    """What one or several of its files say; None where they say nothing.

    Attributes
    ----------
    rotations : (n, 3, 3) float64 or None
    translations : (n, 2) float64 or None
        x and y as fractions of the box, its own unit.
    ctf : (n, 9) float64 or None
        See CTF_COLUMNS.
    latents : (n, q) float64 or None
    """

    rotations: NDArray[np.float64] | None = None
    translations: NDArray[np.float64] | None = None
    ctf: NDArray[np.float64] | None = None
    latents: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.stated().values())))

    def stated(self) -> dict[str, NDArray[np.float64]]:
        """The arrays that are there, by name."""
        return {name: getattr(self, name) for name in _ARRAYS if getattr(self, name) is not None}


def read_cryodrgn(path: Path | str) -> CryodrgnArrays:
    """Read a .pkl (poses, CTF or latents, told apart by their shapes) or an .npz of ours.

    Raises
    ------
    InputError
        The file is unreadable, holds anything but arrays of numbers, or arrays of other shapes.
    """
    path = Path(path)
    found = _of_npz(path) if path.suffix == ".npz" else _of_pickle(path)
    arrays = found.stated()
    for name, values in arrays.items():
        require(bool(np.isfinite(values).all()), f"{path} has {name} that are not finite numbers.")
    if found.rotations is not None:
        _require_rotations(found.rotations, path)
    lengths = {len(values) for values in arrays.values()}
    require(
        len(lengths) == 1, f"{path} holds arrays of {sorted(lengths)} particles: one number was expected."
    )
    return found


def cryodrgn_arrays(file: ParticleFile, box_px: int | None = None) -> CryodrgnArrays:
    """Poses and CTF of a particle file in cryoDRGN's terms; None where the file has none.

    Parameters
    ----------
    box_px : int, optional
        Box of the images, where the file does not tell it.

    Raises
    ------
    InputError
        No box is known.
    """
    rotations = shifts = None
    boxes_px = np.asarray(file.group_box_px)[file.optics_group]
    boxes_px = np.where(boxes_px > 0, boxes_px, box_px or 0)
    pixel_A = np.asarray(file.group_pixel_size_A)[file.optics_group]
    require(
        bool((boxes_px > 0).all()),
        f"{file.path} does not tell the box, which cryoDRGN's shifts are fractions of: give --box-px.",
    )
    if file.poses is not None:
        rotations = file.poses.rotations.double().numpy()
        shifts = file.poses.shifts_A.double().numpy() / (boxes_px * pixel_A)[:, None]
    ctf = None
    if file.has_ctf:
        optics = file.optics
        columns = [boxes_px, pixel_A, *(getattr(optics, name).double().numpy() for name in CTF_COLUMNS[2:])]
        ctf = np.stack([np.asarray(column, np.float64) for column in columns], 1)
    return CryodrgnArrays(rotations, shifts, ctf)


def write_npz(path: Path | str, arrays: CryodrgnArrays) -> None:
    """Write the arrays that are there under their names, atomically, without pickles."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        named: dict[str, Any] = {name: values.astype(np.float32) for name, values in arrays.stated().items()}
        np.savez(handle, **named)


def _of_npz(path: Path) -> CryodrgnArrays:
    require(path.is_file(), f"{path} does not exist: check the path.")
    try:
        with np.load(path, allow_pickle=False) as stored:
            named = {name: np.asarray(stored[name], np.float64) for name in _ARRAYS if name in stored}
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise InputError(f"{path} is no readable .npz ({' '.join(str(error).split())[:120]}).") from error
    require(bool(named), f"{path} should hold arrays named {', '.join(_ARRAYS)}, but holds none of them.")
    shapes = {"rotations": (3, 3), "translations": (2,), "ctf": (9,)}
    for name, values in named.items():
        wanted = shapes.get(name, values.shape[1:])
        require(
            values.ndim > 1 and values.shape[1:] == wanted,
            f"{path} has {name} of shape {values.shape}: n times {wanted} was expected.",
        )
    return CryodrgnArrays(**named)


def _of_pickle(path: Path) -> CryodrgnArrays:
    """The first object of the file: its others, such as the latents' variances, are left out."""
    found: Any = read_pickled_arrays(path)[0]
    arrays = [np.asarray(part) for part in (found if isinstance(found, tuple | list) else [found])]
    numeric = [np.asarray(part, np.float64) for part in arrays if part.dtype.kind in "fiub" and part.ndim > 1]
    shapes = [part.shape[1:] for part in numeric]
    if shapes[:1] == [(3, 3)] and shapes[1:] in ([], [(2,)]):
        return CryodrgnArrays(rotations=numeric[0], translations=numeric[1] if len(numeric) > 1 else None)
    if shapes == [(9,)] and _looks_like_ctf(numeric[0]):
        return CryodrgnArrays(ctf=numeric[0])
    if len(numeric) == 1 and numeric[0].ndim == 2:
        return CryodrgnArrays(latents=numeric[0])
    told = ", ".join(str(part.shape) for part in arrays) or type(found).__name__
    raise InputError(
        f"{path} holds {told}: poses (n, 3, 3) with (n, 2), a CTF (n, 9) or latents (n, q) were expected."
    )


def _looks_like_ctf(table: NDArray) -> bool:
    """Nine latents look otherwise: a box is a whole number, and a voltage is one of a microscope."""
    box, voltage = table[:, 0], table[:, 5]
    return bool(
        (box == box.round()).all() and (box >= 8).all() and ((voltage >= 50) & (voltage <= 3000)).all()
    )


def _require_rotations(rotations: NDArray, path: Path) -> None:
    away = np.abs(rotations @ rotations.swapaxes(1, 2) - np.eye(3)).max()
    require(
        bool(away < 1e-3 and (np.linalg.det(rotations) > 0).all()),
        f"{path} has matrices that are no rotations (off by {away:.2g}): is it a file of poses?",
    )

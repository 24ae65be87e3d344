"""From a particle file of any kind to Particles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nunatak.core.errors import InputError, require
from nunatak.io.cryosparc import read_cryosparc
from nunatak.io.particle_file import GivenOptics, ParticleFile, ReadOptions
from nunatak.io.stacks import read_bare_stack, read_stack_list
from nunatak.io.star import read_star
from nunatak.particles.dataset import Particles
from nunatak.particles.stack_images import StackImages, missing_sentence


def read_particles(
    path: Path | str,
    datadir: Path | str | None = None,
    *,
    pixel_size_A: float | None = None,
    optics: GivenOptics | None = None,
    no_ctf: bool = False,
    passthrough: Path | str | None = None,
    require_images: bool = True,
) -> Particles:
    """Read a particle file: .star, .cs, .csg, .mrcs, .mrc or a .txt list of stacks, also .star.gz.

    Parameters
    ----------
    path : Path
    datadir : Path
        Folder in which image paths are looked for first.
    pixel_size_A : float
        Replaces the file's pixel size.
    optics : GivenOptics
        Replaces the file's optics where given.
    no_ctf : bool
        Take the images as having no CTF.
    passthrough : Path
        cryoSPARC passthrough file, where it is not found by itself.
    require_images : bool
        False lets stacks be missing, until one of their images is read.

    Returns
    -------
    Particles; its table is the ParticleFile

    Raises
    ------
    InputError
        The file cannot be understood, stacks are missing, truncated or of another box.
    """
    options = ReadOptions(
        None if datadir is None else Path(datadir),
        pixel_size_A,
        optics or GivenOptics(),
        no_ctf,
        None if passthrough is None else Path(passthrough),
    )
    file = read_particle_file(path, options)
    missing = file.locations.missing()
    require(not (missing and require_images), missing_sentence(missing, len(file.locations.stack_names)))
    return particles_from_file(file)


def read_particle_file(path: Path | str, options: ReadOptions | None = None) -> ParticleFile:
    """Read the table alone, with the reader that the file's name asks for; images need not be there.

    Raises
    ------
    InputError
        The name has an ending that no reader knows, or the reader refuses the file.
    """
    path = Path(path)
    require(path.exists(), f"{path} does not exist: check the path of the particle file.")
    require(path.is_file(), f"{path} is a folder: a particle file was expected.")
    name = path.name.lower()
    ending = next((known for known in _READERS if name.endswith(known)), None) or _sniffed_ending(path)
    if ending is None:
        raise InputError(f"{path} is of no kind that can be read: {', '.join(_READERS)} were expected.")
    return _READERS[ending](path, options or ReadOptions())


def particles_from_file(file: ParticleFile) -> Particles:
    """Open the stacks of a ParticleFile and check that they are what the file says.

    Raises
    ------
    InputError
        A stack is truncated or unreadable, or its box is not that of its optics group.
    """
    images = StackImages(file.locations)
    boxes = _checked_boxes_px(file, images.boxes_px())
    return Particles(
        images=images,
        optics=file.optics,
        optics_group=torch.tensor(file.optics_group),
        group_pixel_size_A=file.group_pixel_size_A,
        group_box_px=boxes,
        poses=file.poses,
        random_subset=None if file.random_subset is None else torch.tensor(file.random_subset),
        has_ctf=file.has_ctf,
        table=file,
        warnings=(*file.warnings, *images.faults(), *_pixel_size_warning(file, images)),
    )


def _sniffed_ending(path: Path) -> str | None:
    """The ending that a file without a telling name should have, from how it begins."""
    with path.open("rb") as handle:
        start = handle.read(4096)
    if start.startswith(b"\x93NUMPY") or b"CSDAT" in start[:8]:
        return ".cs"
    if start[208:211] == b"MAP":
        return ".mrcs"
    return ".star" if b"data_" in start and b"_rln" in start else None


def _checked_boxes_px(file: ParticleFile, boxes_px: np.ndarray) -> tuple[int, ...]:
    """Box of each group, the same in the file and in its stacks."""
    stated = np.array(file.group_box_px, np.int64)
    wanted = stated[file.optics_group]
    wrong = np.flatnonzero((boxes_px > 0) & (wanted > 0) & (boxes_px != wanted))
    if len(wrong):
        row = wrong[0]
        stack = file.locations.stack_names[file.locations.stack_of_row[row]]
        raise InputError(
            f"{file.path} says box {wanted[row]} px for optics group "
            f"{file.group_names[file.optics_group[row]]}, but the images in {stack} "
            f"are {boxes_px[row]} px: give the stack that belongs to this file."
        )
    return tuple(file.group_box_px)


def _pixel_size_warning(file: ParticleFile, images: StackImages) -> tuple[str, ...]:
    """A sentence when stack headers tell of another pixel size than the file, which wins."""
    sizes_A = np.array([0.0 if h is None else h.pixel_size_A for h in images.headers])
    in_header = sizes_A[file.locations.stack_of_row]
    in_file = np.array(file.group_pixel_size_A)[file.optics_group]
    differ = np.flatnonzero((in_header > 0) & (np.abs(in_header - in_file) > 0.01 * in_file))
    if not len(differ):
        return ()
    row = differ[0]
    stack = file.locations.stack_names[file.locations.stack_of_row[row]]
    return (
        f"The header of {stack} says {in_header[row]:.4g} A per pixel, the particle file {in_file[row]:.4g} "
        "A, which is used.",
    )


_READERS = {
    ".star": read_star,
    ".star.gz": read_star,
    ".cs": read_cryosparc,
    ".csg": read_cryosparc,
    ".mrcs": read_bare_stack,
    ".mrc": read_bare_stack,
    ".txt": read_stack_list,
}

"""MRC stacks and maps. Stacks are memory-mapped; common and harmless header faults become warnings."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from nunatak.core.errors import InputError, require
from nunatak.io.atomic import atomic_path

HEADER_BYTES = 1024
_PIXEL_TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_LARGEST_SIDE_PX = 65536


@dataclass(frozen=True)
class StackHeader:
    """What is needed to find an image in an MRC stack.

    Attributes
    ----------
    path : Path
    count, height_px, width_px : int
        Images, rows and columns of each.
    pixel_type : str
        numpy type with byte order.
    offset_bytes : int
        Where the first image begins.
    pixel_size_A : float
        0 where the header has none.
    faults : tuple of str
        Header faults that were tolerated, as what the file does: "lacks the mark 'MAP' ...".
    """

    path: Path
    count: int
    height_px: int
    width_px: int
    pixel_type: str
    offset_bytes: int
    pixel_size_A: float
    faults: tuple[str, ...] = ()


def read_stack_header(path: Path | str) -> StackHeader:
    """Read and check the header of an MRC stack; every section counts as one image.

    Raises
    ------
    InputError
        The file is missing, is no MRC file, has an unreadable pixel type, or is shorter than its header says.
    """
    path = Path(path)
    require(path.is_file(), f"{path} does not exist: check the path or give --datadir.")
    with path.open("rb") as handle:
        raw = handle.read(HEADER_BYTES)
    size_bytes = path.stat().st_size
    require(
        len(raw) == HEADER_BYTES,
        f"{path} is no MRC file: a header of {HEADER_BYTES} bytes was expected, found {len(raw)} bytes.",
    )
    order = _byte_order(raw, path)
    header = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order))[0]
    pixel_type = order + _PIXEL_TYPES[int(header["mode"])]
    offset, count, faults = _layout(header, np.dtype(pixel_type).itemsize, size_bytes, path)
    pixel_size = _header_pixel_size(header)
    if not pixel_size > 0:
        faults.append("has no pixel size in its header")
    if header["map"][:3] != b"MAP":
        faults.append("lacks the mark 'MAP' and was read as MRC all the same")
    return StackHeader(
        path, count, int(header["ny"]), int(header["nx"]), pixel_type, offset, pixel_size, tuple(faults)
    )


def map_stack(header: StackHeader) -> np.memmap:
    """(count, height, width) read-only view of a stack's file in its own pixel type."""
    shape = (header.count, header.height_px, header.width_px)
    return np.memmap(header.path, header.pixel_type, mode="r", offset=header.offset_bytes, shape=shape)


def write_stack(path: Path | str, images: np.ndarray, pixel_size_A: float) -> None:
    """Write (n, height, width) images as a float32 MRC stack, atomically, with its pixel size."""
    with atomic_path(path) as temporary, mrcfile.new(temporary, overwrite=True) as file:
        _set_data(file, images)
        file.set_image_stack()
        file.voxel_size = pixel_size_A


def read_map(path: Path | str) -> tuple[np.ndarray, float, tuple[float, float, float]]:
    """Read a map, also gzipped or bzipped, with its axes brought to z, y, x.

    Returns
    -------
    (nz, ny, nx) float32 densities, pixel size in A (0 if the header has none), origin (x, y, z) in A

    Raises
    ------
    InputError
        The file is missing, unreadable, truncated, not three-dimensional, or has voxels that are not cubes.
    """
    path = Path(path)
    require(path.is_file(), f"{path} does not exist: check the path of the map.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = mrcfile.open(path, permissive=True)
    except (ValueError, OSError, EOFError) as fault:
        raise InputError(f"{path} cannot be read as an MRC map: {fault}.") from fault
    with file:
        header = file.header
        require(
            file.data is not None and file.data.ndim == 3,
            f"{path} is no complete MRC map: {header.nx} x {header.ny} x {header.nz} voxels were expected"
            " from its header, found fewer bytes or other dimensions; copy the file again.",
        )
        order = [int(header.maps), int(header.mapr), int(header.mapc)]
        data = np.array(file.data, np.float32)
        voxel = [float(file.voxel_size[axis]) for axis in "xyz"]
        origin = (float(header.origin.x), float(header.origin.y), float(header.origin.z))
    if sorted(order) == [1, 2, 3]:
        data = data.transpose([order.index(axis) for axis in (3, 2, 1)])
    require(
        max(voxel) - min(voxel) <= 0.01 * max(voxel),
        f"{path} has voxels of {' x '.join(f'{side:.3f}' for side in voxel)} A, not cubes: resample it.",
    )
    return np.ascontiguousarray(data), voxel[0], origin


def write_map(
    path: Path | str,
    density: np.ndarray,
    pixel_size_A: float,
    origin_A: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> None:
    """Write a (z, y, x) map, protein bright, as float32, atomically, with pixel size and origin."""
    with atomic_path(path) as temporary, mrcfile.new(temporary, overwrite=True) as file:
        _set_data(file, density)
        file.set_volume()
        file.voxel_size = pixel_size_A
        file.header.origin = origin_A


def _set_data(file: mrcfile.mrcfile.MrcFile, values: np.ndarray) -> None:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # mrcfile's header statistics warn of values that are not finite; readers say it better.
        warnings.simplefilter("ignore")
        file.set_data(np.ascontiguousarray(values, dtype=np.float32))


def _byte_order(raw: bytes, path: Path) -> str:
    """'<' or '>': the order in which dimensions and pixel type make sense, whatever the stamp says."""
    found = []
    for order in "<>":
        nx, ny, nz, mode = (int(value) for value in np.frombuffer(raw[:16], f"{order}i4"))
        if 0 < nx <= _LARGEST_SIDE_PX and 0 < ny <= _LARGEST_SIDE_PX and nz > 0:
            if mode in _PIXEL_TYPES:
                return order
            found.append(f"mode {mode}")
    raise InputError(
        f"{path} is no MRC stack of real images: mode 0, 1, 2, 6 or 12 and positive sizes were expected, "
        f"found {' or '.join(found) or 'senseless sizes'}; convert it to float32 MRC."
    )


def _layout(header: np.void, bytes_per_pixel: int, size_bytes: int, path: Path) -> tuple[int, int, list[str]]:
    """(offset, images, faults) that fit the file's true length."""
    image_bytes = int(header["nx"]) * int(header["ny"]) * bytes_per_pixel
    count, extended = int(header["nz"]), int(header["nsymbt"])
    faults = []
    if (
        extended < 0
        or size_bytes == HEADER_BYTES + count * image_bytes != HEADER_BYTES + extended + count * image_bytes
    ):
        faults.append(f"tells of an extended header of {extended} bytes that is not there")
        extended = 0
    offset = HEADER_BYTES + extended
    expected = offset + count * image_bytes
    if size_bytes < expected:
        raise InputError(
            f"{path} is truncated: {expected:,} bytes were expected for {count} images, found "
            f"{size_bytes:,}; copy the file again."
        )
    held, rest = divmod(size_bytes - offset, image_bytes)
    if held > count and rest == 0:
        faults.append(f"tells of {count} images but holds {held}, all of which were used")
        count = held
    return offset, count, faults


def _header_pixel_size(header: np.void) -> float:
    columns, length_A = int(header["mx"]), float(header["cella"]["x"])
    size = length_A / columns if columns > 0 else 0.0
    return size if np.isfinite(size) and size > 0 else 0.0

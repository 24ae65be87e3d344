"""Images in many MRC stacks, memory-mapped, read in sorted batches."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from functools import lru_cache

import numpy as np

from nunatak.core.errors import InputError, require
from nunatak.io.mrc import StackHeader, map_stack, read_stack_header
from nunatak.io.particle_file import ImageLocations

# Micrograph-wise data sets have thousands of stacks, the system allows about a thousand open files.
_OPEN_STACKS = 128


class StackImages:
    """Images of particles that lie in MRC stacks.

    Opening reads and checks every stack's header; pixels are read on demand. Stacks that are missing are an
    error only when one of their images is read.

    Raises
    ------
    InputError
        A stack is truncated, unreadable or not square, or has fewer images than the particle file wants.
    """

    def __init__(self, locations: ImageLocations) -> None:
        self._locations = locations
        self._headers = tuple(
            None if path is None else read_stack_header(path) for path in locations.stack_paths
        )
        self._check_squares()
        self._check_slices()
        self._mapped = lru_cache(maxsize=_OPEN_STACKS)(map_stack)

    def __len__(self) -> int:
        return len(self._locations.stack_of_row)

    @property
    def headers(self) -> tuple[StackHeader | None, ...]:
        """Header of each stack; None where the stack is missing."""
        return self._headers

    def boxes_px(self) -> np.ndarray:
        """(n,) int64 box of each particle's image; 0 where its stack is missing."""
        sides = np.array([0 if header is None else header.width_px for header in self._headers], np.int64)
        return sides[self._locations.stack_of_row]

    def read(self, rows: np.ndarray) -> np.ndarray:
        """(k, box, box) float32 images of the given rows, in that order; the rows share one box.

        Raises
        ------
        InputError
            A stack is missing, the boxes differ, or an image has pixels that are not finite.
        """
        rows = np.asarray(rows, np.int64)
        stacks, slices = self._locations.stack_of_row[rows], self._locations.slice_of_row[rows]
        box = self._common_box(np.unique(stacks))
        images = np.empty((len(rows), box, box), np.float32)
        order = np.lexsort((slices, stacks))
        bounds = np.flatnonzero(np.diff(stacks[order])) + 1
        for part in np.split(order, bounds) if len(rows) else ():
            mapped = self._mapped(self._headers[stacks[part[0]]])
            images[part] = mapped[slices[part]]
        self._check_finite(images, rows)
        return images

    def signature(self) -> str:
        """Of the stacks' names, sizes and times of change, and of which image is whose."""
        digest = hashlib.sha256()
        for path in self._locations.stack_paths:
            status = None if path is None else path.stat()
            known = None if status is None else (status.st_size, status.st_mtime_ns)
            digest.update(f"{path} {known}\n".encode())
        digest.update(np.ascontiguousarray(self._locations.stack_of_row).tobytes())
        digest.update(np.ascontiguousarray(self._locations.slice_of_row).tobytes())
        return digest.hexdigest()

    def faults(self) -> tuple[str, ...]:
        """One sentence for each kind of header fault that was tolerated."""
        found: dict[str, list[str]] = defaultdict(list)
        for header in filter(None, self._headers):
            for fault in header.faults:
                found[fault].append(header.path.name)
        return tuple(
            f"The stack {names[0]} {fault}."
            if len(names) == 1
            else f"{len(names)} stacks, {names[0]} first: {fault}."
            for fault, names in found.items()
        )

    def _common_box(self, stacks: np.ndarray) -> int:
        lost = [self._locations.stack_names[i] for i in stacks if self._headers[i] is None]
        require(not lost, missing_sentence(tuple(lost), len(self._headers)))
        chosen = stacks if len(stacks) else range(len(self._headers))
        boxes = {header.width_px for i in chosen if (header := self._headers[i]) is not None}
        require(
            len(boxes) <= 1 or not len(stacks),
            f"Images of boxes {sorted(boxes)} px cannot be read in one batch.",
        )
        return max(boxes, default=0)

    def _check_squares(self) -> None:
        for header in filter(None, self._headers):
            require(
                header.width_px == header.height_px,
                f"{header.path} has images of {header.width_px} x {header.height_px} px: square ones were "
                "expected; crop or pad them.",
            )

    def _check_slices(self) -> None:
        unknown = np.iinfo(np.int64).max
        held = np.array([unknown if header is None else header.count for header in self._headers], np.int64)
        beyond = np.flatnonzero(self._locations.slice_of_row >= held[self._locations.stack_of_row])
        if len(beyond):
            row = beyond[0]
            raise InputError(
                f"Row {row + 1} of the particle file wants {self._image_name(row)}, which has only "
                f"{held[self._locations.stack_of_row[row]]} images: this is another or a shortened stack."
            )

    def _check_finite(self, images: np.ndarray, rows: np.ndarray) -> None:
        flat = images.reshape(len(images), images.shape[1] * images.shape[2])
        # One product finds the suspects: a sum is finite unless a pixel is not (or it overflows).
        with np.errstate(invalid="ignore", over="ignore"):
            suspects = np.flatnonzero(~np.isfinite(flat @ np.ones(flat.shape[1], np.float32)))
        for i in suspects:
            count = int((~np.isfinite(flat[i])).sum())
            require(
                count == 0,
                f"Particle row {rows[i] + 1} ({self._image_name(rows[i])}) has {count} pixels that are not "
                "finite numbers: remove the row or extract it again.",
            )

    def _image_name(self, row: int) -> str:
        stack = self._locations.stack_names[self._locations.stack_of_row[row]]
        return f"image {self._locations.slice_of_row[row] + 1} of {stack}"


def missing_sentence(missing: tuple[str, ...], total: int) -> str:
    """What is missing, the first three by name, and what to do."""
    shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    return f"{len(missing)} of {total} image stacks are missing ({shown}): give their folder as --datadir."

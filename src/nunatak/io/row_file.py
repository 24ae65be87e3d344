"""Rows of numbers in one file: a row at a fixed place, written in any order, read a prefix at a time.

Read with pread and not through a memory map: what is read counts as ours and nothing else does, and a file
that was cut short or a disk that fails is a sentence, where a map would end the process
(docs/decisions/0014).
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nunatak.core.errors import RunError


@dataclass(frozen=True)
class RowFile:
    """A file of rows.

    Attributes
    ----------
    path : Path
    width : int
        Numbers per row.
    dtype : numpy dtype
        As they are stored.
    """

    path: Path
    width: int
    dtype: np.dtype

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.width * self.dtype.itemsize

    def write(self, first: int, values: np.ndarray) -> int:
        """Put (k, width) rows in their place and on the disk; their checksum.

        Raises
        ------
        OSError
            The disk is full or fails.
        """
        stored = np.ascontiguousarray(values, self.dtype)
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            view, place = stored.data.cast("B"), first * self.row_bytes
            while len(view):
                done = os.pwrite(handle, view, place)
                view, place = view[done:], place + done
            os.fsync(handle)
        finally:
            os.close(handle)
        return zlib.crc32(stored.data)

    def checksum(self, first: int, count: int) -> int | None:
        """Of so many rows as they are on the disk; None where they are not all there."""
        try:
            return zlib.crc32(self.read(np.arange(first, first + count)).data)
        except RunError:
            return None

    def read(self, rows: np.ndarray, count: int | None = None) -> np.ndarray:
        """(k, count) first numbers of some rows, in any order; all of them by default.

        Neighbouring rows are read in one piece; as many again are asked for ahead, because passes go through
        them in order.

        Raises
        ------
        RunError
            The file is missing, was cut short, or cannot be read.
        """
        count = self.width if count is None else count
        values = np.empty((len(rows), count), self.dtype)
        if not values.size:
            return values
        try:
            handle = os.open(self.path, os.O_RDONLY)
            try:
                self._fill(handle, values, np.asarray(rows, np.int64))
                self._ask_ahead(handle, int(rows[0]), int(rows[-1]), count)
            finally:
                os.close(handle)
        except OSError as error:
            raise RunError(f"{self.path} cannot be read ({error.strerror}): {_REMEDY}") from error
        return values

    def _ask_ahead(self, handle: int, first: int, last: int, count: int) -> None:
        """Let the system read the beginnings of the rows that come next while these are computed with."""
        if not hasattr(os, "posix_fadvise") or last < first:
            return
        place, span = (last + 1) * self.row_bytes, (last + 1 - first) * self.row_bytes
        if 2 * count > self.width:
            os.posix_fadvise(handle, place, span, os.POSIX_FADV_WILLNEED)
            return
        # Of short beginnings nothing else: the rest of the row would be most of what is read.
        for start in range(place, place + span, self.row_bytes):
            os.posix_fadvise(handle, start, count * self.dtype.itemsize, os.POSIX_FADV_WILLNEED)

    def _fill(self, handle: int, values: np.ndarray, rows: np.ndarray) -> None:
        whole = values.shape[1] == self.width
        apart = np.flatnonzero(np.diff(rows) != 1) + 1 if whole else np.arange(1, len(rows))
        starts = [0, *apart.tolist()]
        for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            self._read_piece(handle, values[start:end].data.cast("B"), int(rows[start]) * self.row_bytes)

    def _read_piece(self, handle: int, view: memoryview, place: int) -> None:
        while len(view):
            done = os.preadv(handle, [view], place)
            if not done:
                raise RunError(f"{self.path} ends before row {place // self.row_bytes + 1}: {_REMEDY}")
            view, place = view[done:], place + done


_REMEDY = "remove the folder that it lies in, then go on with `nunatak resume RUN`; it is made anew."

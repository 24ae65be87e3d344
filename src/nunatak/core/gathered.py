"""What passes find out about particles, some at a time, in columns that are made once."""

from __future__ import annotations

from torch import Tensor


class Gathered:
    """Columns of values of so many rows, filled some rows at a time.

    They are made whole with the first values. Pieces kept until the end, one from every tile, would lie
    between the large blocks that a tile takes and frees, and the C library could not give those out again:
    memory would grow with every tile (docs/scaling.md).

    Parameters
    ----------
    count : int
        Rows of every column.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._columns: tuple[Tensor, ...] = ()

    def put(self, rows: Tensor, *values: Tensor) -> None:
        """Put (k, ...) values of each column into (k,) rows."""
        if not self._columns:
            self._columns = tuple(v.new_empty(self._count, *v.shape[1:]) for v in values)
        for column, own in zip(self._columns, values, strict=True):
            column[rows] = own

    def columns(self) -> tuple[Tensor, ...]:
        """The columns, (count, ...) each, in the order in which values are given; none before any is."""
        return self._columns

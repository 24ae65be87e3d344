"""Samples that stay on the disk: what a cache looks up like a tensor, and reads when it is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from nunatak.core.device import CPU
from nunatak.core.errors import require
from nunatak.io.row_file import RowFile


@dataclass(frozen=True)
class StoredRows:
    """Rows `first` to `end` of a file as a (n, m) tensor that is read row by row; indexed [rows, :count].

    Attributes
    ----------
    file : RowFile
    first, end : int
        Rows of the file that are meant.
    is_complex : bool
        Pairs of numbers are complex.
    device : torch.device
        Where what is read goes.
    """

    file: RowFile
    first: int
    end: int
    is_complex: bool
    device: torch.device = CPU

    def __len__(self) -> int:
        return self.end - self.first

    @property
    def _per_sample(self) -> int:
        return 2 if self.is_complex else 1

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, samples)."""
        return len(self), self.file.width // self._per_sample

    def __getitem__(self, index: tuple[Tensor | slice, slice] | Tensor | slice) -> Tensor:
        """(k, count) complex64 or float32 of some rows, the first samples of each."""
        rows, columns = index if isinstance(index, tuple) else (index, slice(None))
        every = torch.arange(len(self), device=CPU)
        chosen = every[rows.cpu() if isinstance(rows, Tensor) else rows]
        count = len(range(*columns.indices(self.shape[1])))
        read = self.file.read(chosen.numpy() + self.first, count * self._per_sample)
        values = torch.from_numpy(read).to(self.device).float()
        return torch.view_as_complex(values.view(len(values), count, 2)) if self.is_complex else values

    def split(self, at_once: int) -> Iterator[Tensor]:
        """All rows, so many at a time."""
        for start in range(0, len(self), at_once):
            yield self[slice(start, start + at_once)]

    def on(self, device: torch.device | str) -> StoredRows:
        """The same rows, read to a device."""
        return replace(self, device=torch.device(device))

    def write(self, first: int, values: Tensor) -> int:
        """Store (k, m) samples as the rows of the file from `first` on; their checksum.

        Raises
        ------
        InputError
            A value is too large for the type that is stored.
        """
        real = torch.view_as_real(values).flatten(1) if self.is_complex else values
        with np.errstate(over="ignore"):
            stored = real.cpu().numpy().astype(self.file.dtype)
        require(
            bool(np.isfinite(stored).all()),
            f"Images have samples as large as {float(real.abs().max()):.2g}, too large for "
            f"{self.file.dtype.name}: use --cache-precision float32.",
        )
        return self.file.write(first, stored)

"""Columns from elsewhere, one value for each particle of a run: FILE or FILE:COLUMN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nunatak.core.errors import InputError, require
from nunatak.io.cryosparc import read_fields
from nunatak.io.star import read_star_tables

_ENDINGS = (".star", ".star.gz", ".csv", ".npy", ".cs")


def read_labels(wanted: str, count: int) -> dict[str, NDArray]:
    """The columns that FILE[:COLUMN] means, by name; all usable ones where no column is named.

    Parameters
    ----------
    wanted : str
    count : int
        Rows that are expected.

    Raises
    ------
    InputError
        The file is missing, unreadable, lacks the column, or has another number of rows.
    """
    path, column = split_column(wanted)
    columns = _columns(path)
    if column is not None:
        require(
            column in columns,
            f"{path} has no column '{column}': expected one of {', '.join(list(columns)[:12])}.",
        )
        columns = {column: columns[column]}
    for values in columns.values():
        require(
            len(values) == count,
            f"{path} has {len(values)} rows, but the run has {count} particles: give one row for each, "
            "in the run's order.",
        )
    return columns


def split_column(wanted: str) -> tuple[Path, str | None]:
    """FILE:COLUMN as its two parts; a file whose own name has a colon is found as it is."""
    if Path(wanted).exists() or ":" not in wanted:
        return Path(wanted), None
    name, _, column = wanted.rpartition(":")
    return Path(name), column


def _columns(path: Path) -> dict[str, NDArray]:
    require(path.is_file(), f"{path} does not exist: check the path of the labels.")
    name = path.name.lower()
    if name.endswith((".star", ".star.gz")):
        return _of_table(read_star_tables(path).rows)
    if name.endswith(".cs"):
        return _of_fields(read_fields(path))
    try:
        if name.endswith(".csv"):
            return _of_table(pd.read_csv(path, comment="#"))
        if name.endswith(".npy"):
            return _of_array(path, np.load(path, allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({' '.join(str(error).split())}).") from error
    raise InputError(f"{path} is of no kind that can be read as labels: {', '.join(_ENDINGS)} were expected.")


def _of_table(table: pd.DataFrame) -> dict[str, NDArray]:
    return {str(name): table[name].to_numpy() for name in table if str(name) != "rlnImageName"}


def _of_array(path: Path, values: NDArray) -> dict[str, NDArray]:
    require(values.ndim in (1, 2), f"{path} should hold one or two axes, but its shape is {values.shape}.")
    if values.ndim == 1:
        return {path.stem: values}
    return {f"{path.stem}_{k}": column for k, column in enumerate(values.T)}


def _of_fields(fields: NDArray) -> dict[str, NDArray]:
    """Fields of one value each; vectors are left out, and so is the uid, which tells particles apart."""
    names = [name for name in fields.dtype.names or () if fields.dtype[name].shape == () and name != "uid"]
    return {name: _plain(fields[name]) for name in names}


def _plain(values: NDArray) -> NDArray:
    return np.char.decode(values, "utf-8", "replace") if values.dtype.kind == "S" else values

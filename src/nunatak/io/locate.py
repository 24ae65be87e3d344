"""Finding the stacks that image names point to: RELION writes paths from its project folder, files move."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from nunatak.core.errors import InputError
from nunatak.io.particle_file import ImageLocations


def locate_images(
    names: pd.Series, folder: Path, datadir: Path | None
) -> tuple[ImageLocations, tuple[str, ...]]:
    """Split image names of the form 000001@path and find each stack.

    A relative path is looked for in `datadir` (whole, then ever shorter tails, down to the bare name), in the
    folder of the particle file, in the folders above it, and at last by its bare name beside the file.

    Parameters
    ----------
    names : (n,) str
        RELION image names, counted from 1; a name without @ is the first image of its file.

    Returns
    -------
    the locations, and warnings

    Raises
    ------
    InputError
        A name has something other than a positive number before the @.
    """
    parts = names.astype(str).str.rpartition("@")
    numbers = pd.to_numeric(parts[0].where(parts[1] == "@", "1"), errors="coerce")
    wrong = ~(numbers >= 1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"Row {row + 1} has the image name '{names.iloc[row]}': NUMBER@STACK, from 1 on, was expected."
        )
    stack_of_row, unique = pd.factorize(parts[2])
    finder = _Finder(folder, datadir)
    paths = tuple(finder.find(_plain_path(name)) for name in unique)
    locations = ImageLocations(
        tuple(unique), paths, stack_of_row.astype(np.int64), numbers.to_numpy(np.int64) - 1
    )
    return locations, finder.warnings()


def _plain_path(name: str) -> str:
    """Without cryoSPARC's leading '>' and RELION's trailing ':mrcs'."""
    return name.removeprefix(">").removesuffix(":mrcs").removesuffix(":mrc")


class _Finder:
    """Looks for files; remembers where the last one was, because the next one lies there too."""

    def __init__(self, folder: Path, datadir: Path | None) -> None:
        self._folder = folder.resolve()
        self._datadir = None if datadir is None else Path(datadir).resolve()
        self._last: tuple[Path, int] | None = None
        self._by_name_only: list[str] = []

    def find(self, name: str) -> Path | None:
        """Absolute path of the file, or None."""
        parts = PurePosixPath(name).parts
        if self._last is not None and self._last[1] < len(parts):
            root, cut = self._last
            candidate = root.joinpath(*parts[cut:])
            if candidate.is_file():
                return candidate
        for root, cut in self._places(parts):
            candidate = root.joinpath(*parts[cut:])
            if candidate.is_file():
                self._last = (root, cut)
                return candidate
        beside = self._folder / parts[-1] if parts else None
        if beside is not None and beside.is_file():
            self._by_name_only.append(name)
            return beside
        return None

    def _places(self, parts: tuple[str, ...]) -> list[tuple[Path, int]]:
        """(root, leading parts to drop), in the order of preference."""
        absolute = bool(parts) and parts[0] == "/"
        places = []
        if self._datadir is not None:
            places += [(self._datadir, cut) for cut in range(int(absolute), len(parts))]
        if absolute:
            return [*places, (Path("/"), 1)]
        return [*places, *((root, 0) for root in (self._folder, *self._folder.parents))]

    def warnings(self) -> tuple[str, ...]:
        """One sentence when stacks were found by their bare name."""
        if not self._by_name_only:
            return ()
        return (
            f"{len(self._by_name_only)} stacks were not at the path in the file ({self._by_name_only[0]}) "
            "and were taken from beside it by name.",
        )

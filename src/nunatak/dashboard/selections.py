"""Particles that were picked in the browser, as star files beside the run."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nunatak.core.errors import require
from nunatak.dashboard.run_library import NotFoundError, require_name
from nunatak.io.atomic import write_npy
from nunatak.io.particle_file import ParticleFile
from nunatak.io.star import write_particles_star

FOLDER = "selections"


@dataclass(frozen=True)
class SavedSelection:
    """A selection on disk: NAME.star for other programs, NAME.npy with the 0-based rows.

    Attributes
    ----------
    name : str
    count : int
    path : Path
        Of the star file.
    """

    name: str
    count: int
    path: Path


def checked_rows(rows: list[int], count: int) -> NDArray[np.int64]:
    """(k,) rows in the run's order, each once.

    Raises
    ------
    InputError
        There are none, or one is not of this run.
    """
    require(bool(rows), "The selection is empty: nothing was written.")
    found = np.unique(np.asarray(rows, np.int64))
    require(
        found[0] >= 0 and found[-1] < count,
        f"The selection names particles that are not there: expected rows from 0 to {count - 1}.",
    )
    return found


def save_selection(folder: Path, name: str, particles: ParticleFile, rows: NDArray) -> SavedSelection:
    """Write RUN/selections/NAME.star and NAME.npy, whole or not at all; one of that name is replaced.

    Raises
    ------
    InputError
        The name is not safe, or selections/ leads out of the run's folder.
    """
    target = _folder(folder) / f"{require_name(name, 'a selection')}.star"
    write_particles_star(target, particles.subset(rows), {})
    write_npy(target.with_suffix(".npy"), rows)
    return SavedSelection(name, len(rows), target)


def list_selections(folder: Path) -> list[SavedSelection]:
    """The selections of a run, by name."""
    found = []
    for path in sorted((folder / FOLDER).glob("*.star")):
        try:
            found.append(SavedSelection(path.stem, len(_rows(path)), path))
        except (OSError, ValueError):
            continue
    return found


def find_selection(folder: Path, name: str) -> SavedSelection:
    """A selection by name.

    Raises
    ------
    NotFoundError
        There is none.
    """
    require_name(name, "a selection")
    named = [saved for saved in list_selections(folder) if saved.name == name]
    if not named:
        raise NotFoundError("There is no selection of that name.")
    return named[0]


def selection_rows(saved: SavedSelection) -> NDArray[np.int64]:
    """(k,) 0-based rows of a selection."""
    return _rows(saved.path)


def star_bytes(particles: ParticleFile, rows: NDArray) -> bytes:
    """The star file of some rows, without keeping it."""
    with tempfile.TemporaryDirectory(prefix="nunatak-") as folder:
        path = Path(folder) / "selection.star"
        write_particles_star(path, particles.subset(rows), {})
        return path.read_bytes()


def _rows(path: Path) -> NDArray[np.int64]:
    return np.load(path.with_suffix(".npy"), allow_pickle=False)


def _folder(run: Path) -> Path:
    """RUN/selections; a link that leads elsewhere is refused."""
    place = run / FOLDER
    inside = place.resolve().is_relative_to(run.resolve())
    require(inside, f"{FOLDER}/ leads out of the run's folder: nothing was written.")
    return place

"""Which runs a dashboard shows: they are named by the server, never by a path from the outside."""

from __future__ import annotations

import re
from pathlib import Path

from nunatak.core.errors import InputError, require
from nunatak.dashboard.settings import Settings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
"""Names that files may be given from the outside."""

_MARKS = ("config.toml", "summary.json", "history.jsonl", "particles.star")


class NotFoundError(InputError):
    """What was asked for is not there."""


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, finished or not."""
    return any((folder / mark).is_file() for mark in _MARKS)


def require_name(name: str, what: str) -> str:
    """A name that is safe as a file's.

    Raises
    ------
    InputError
        It is anything else: a path, hidden, too long, or of characters that other systems refuse.
    """
    safe = NAME.fullmatch(name) is not None and not name.endswith(".") and ".." not in name
    require(
        safe,
        f"A name of {what} has at most 80 letters, digits, points, hyphens and underscores, and begins with "
        "a letter or digit.",
    )
    return name


class RunLibrary:
    """The runs of a dashboard under short ids; folders of runs are looked through anew at each call."""

    def __init__(self, settings: Settings) -> None:
        for folder in settings.folders:
            require(folder.is_dir(), f"{folder} is no folder: give the folder of a run, or one of runs.")
        self._settings = settings
        self._started: list[Path] = []

    def add(self, folder: Path) -> None:
        """Show a run that was started here."""
        self._started.append(folder)

    def runs(self) -> dict[str, Path]:
        """Folder of every run by its id, in the order in which they were given."""
        found: dict[str, Path] = {}
        for given in (*self._settings.folders, *self._started):
            folder = given.absolute()
            inside = [] if is_run(folder) else sorted(path for path in folder.glob("[!.]*") if path.is_dir())
            for run in [folder] if is_run(folder) or given in self._started else filter(is_run, inside):
                if run not in found.values():
                    found[_free_id(run.name, found)] = run
        return found

    def folder(self, run: str) -> Path:
        """The folder of a run.

        Raises
        ------
        NotFoundError
            There is no run of this id.
        """
        try:
            return self.runs()[run]
        except KeyError:
            raise NotFoundError("There is no run of that name here; /api/runs lists them.") from None


def _free_id(name: str, taken: dict[str, Path]) -> str:
    base = name if NAME.fullmatch(name) else re.sub(r"[^A-Za-z0-9._-]", "-", name).strip("-.") or "run"
    numbered = (f"{base}-{number}" for number in range(2, len(taken) + 3))
    return base if base not in taken else next(one for one in numbered if one not in taken)

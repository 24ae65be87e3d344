"""Scripts for ChimeraX: open a run's maps as one series, and record a film of them; no session file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from nunatak.core.errors import require

_SAFE = re.compile(r"[A-Za-z0-9_./-]+")
COLOUR = "#9ebdd4"


def view_script(maps: Sequence[str], level: float) -> str:
    """A .cxc that opens maps as a volume series at one level.

    Parameters
    ----------
    maps : sequence of str
        Paths from the folder of the script.
    level : float
        Contour level.

    Raises
    ------
    InputError
        There is no map, or a name that a script cannot hold.
    """
    require(bool(maps), "There are no maps to show.")
    for name in maps:
        require(
            bool(_SAFE.fullmatch(name)) and ".." not in PurePosixPath(name).parts,
            f"The map name {name!r} cannot stand in a script: letters, digits, . _ - and / were expected.",
        )
    lines = [
        "# Written by Nunatak: open this file in ChimeraX.",
        "close",
        f"open {' '.join(maps)} vseries true" if len(maps) > 1 else f"open {maps[0]}",
        f"volume #1 level {level:.6g} step 1 color {COLOUR}",
        "set bgColor white",
        "lighting soft",
        "graphics silhouettes true",
        "view",
    ]
    return "\n".join(lines) + "\n"


def movie_script(maps: Sequence[str], level: float, film: str = "path.mp4") -> str:
    """A .cxc that opens maps as a series, plays it forth and back, and records an MP4."""
    require(len(maps) > 1, "A film needs at least two maps.")
    # Frames per map: the series is played once in each direction.
    frames = 2 * 4 * len(maps)
    lines = [
        view_script(maps, level).rstrip("\n"),
        "windowsize 900 900",
        "movie record supersample 3",
        "vseries play #1 direction oscillate maxFrameRate 8 loop true",
        f"wait {frames}",
        "vseries stop #1",
        f"movie encode {film} framerate 25 quality high",
    ]
    return "\n".join(lines) + "\n"

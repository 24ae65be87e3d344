"""What a report shows of an analysis: the figures of analysis.json and the tables beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nunatak.core.errors import require

PATH_WORDS = {
    "dominant": "dominant motion",
    "component": "first component",
    "straight": "straight line",
    "graph": "through the particles",
    "energy": "lowest free energy",
}
"""Known paths in words; others are passed over."""
_POINT_COLUMNS = ("position", "support")
_PROFILE_COLUMNS = ("position", "free_energy_kT", "error_kT")


@dataclass(frozen=True, eq=False)
class PathContents:
    """One path: points with support, and the fine profile along it."""

    name: str
    points: pd.DataFrame
    profile: pd.DataFrame


@dataclass(frozen=True, eq=False)
class AnalysisContents:
    """An analysis, as far as its files can be read.

    Attributes
    ----------
    told : dict
        analysis.json.
    components : (n, q) or None
    umap : (n, 2) or None
    kmeans : (n,) int or None
    free_energy_kT, error_kT : (g, h) or None
    paths : tuple of PathContents
    maps : DataFrame or None
        map_landscape.csv.
    """

    told: dict[str, Any]
    components: NDArray | None
    umap: NDArray | None
    kmeans: NDArray | None
    free_energy_kT: NDArray | None
    paths: tuple[PathContents, ...]
    maps: pd.DataFrame | None

    @property
    def recommended(self) -> str | None:
        """Name of the path that analyze recommends."""
        name = self.told.get("recommended_path")
        return name if name in PATH_WORDS else None


def read_analysis_contents(folder: Path) -> AnalysisContents:
    """Read RUN/analysis.

    Raises
    ------
    InputError, OSError, ValueError, KeyError
        A file that belongs to it is damaged.
    """
    told = json.loads((folder / "analysis.json").read_text(encoding="utf-8"))
    require(isinstance(told, dict), "analysis.json should hold one JSON object")
    paths = []
    for name in PATH_WORDS:
        points, profile = folder / f"path_{name}.csv", folder / f"profile_{name}.csv"
        if points.exists() and profile.exists():
            paths.append(
                PathContents(name, _table(points, _POINT_COLUMNS), _table(profile, _PROFILE_COLUMNS))
            )
    return AnalysisContents(
        told=told,
        components=_optional(folder / "components.npy", _array),
        umap=_optional(folder / "umap.npy", _array),
        kmeans=_optional(folder / "kmeans_labels.npy", _array),
        free_energy_kT=_optional(folder / "landscape_free_energy_kT.npy", _array),
        paths=tuple(paths),
        maps=_optional(folder / "map_landscape.csv", lambda path: _table(path, ("particle", "share"))),
    )


def _table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    table = pd.read_csv(path)
    missing = [name for name in columns if name not in table]
    require(not missing and len(table) > 1, f"{path.name} lacks rows or the columns {', '.join(missing)}")
    return table


def _optional(path: Path, read: Callable[[Path], Any]) -> Any:
    return read(path) if path.exists() else None


def _array(path: Path) -> NDArray:
    return np.load(path, allow_pickle=False)

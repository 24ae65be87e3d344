"""A run's particles as one table: latents, coordinates, clusters, confidence, as CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nunatak.core.errors import InputError, require
from nunatak.io.atomic import atomic_path
from nunatak.io.star import read_star_tables

_COLUMNS = ("rlnImageName", "rlnRandomSubset", "rlnClassNumber", "nunatakPoseConfidence", "nunatakJunk")
_LABELS = {"kmeans": "kmeans_labels.npy", "mixture": "mixture_labels.npy"}


def particle_table(run_dir: Path) -> pd.DataFrame:
    """One row for each particle of a run, in its order: what is there of latents, analysis and confidence.

    Raises
    ------
    InputError
        The run has no particles.star, or a file of it has another number of rows.
    """
    rows = read_star_tables(run_dir / "particles.star").rows
    table = pd.DataFrame({"particle": np.arange(len(rows))})
    for name in _COLUMNS:
        if name in rows:
            table[name] = rows[name].to_numpy()
    wide = {"latent": run_dir / "latents.npy"}
    wide |= {name: run_dir / "analysis" / f"{name}s.npy" for name in ("component",)}
    wide["umap"] = run_dir / "analysis" / "umap.npy"
    for name, path in wide.items():
        if path.exists():
            for k, column in enumerate(_array(path, len(rows)).reshape(len(rows), -1).T):
                table[f"{name}_{k}"] = column
    for name, file in _LABELS.items():
        if (run_dir / "analysis" / file).exists():
            table[name] = _array(run_dir / "analysis" / file, len(rows))
    return table


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, atomically, numbers with seven significant digits."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.7g")


def _array(path: Path, count: int) -> NDArray:
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}).") from error
    require(
        len(values) == count,
        f"{path} has {len(values)} rows, particles.star {count}: `nunatak analyze` again.",
    )
    return values

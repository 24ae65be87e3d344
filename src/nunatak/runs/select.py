"""Subsets of a run's particles: every column and the order are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nunatak.core.errors import InputError, require
from nunatak.io.atomic import write_npy
from nunatak.io.cryosparc import read_fields, write_fields
from nunatak.io.star import read_star, write_particles_star
from nunatak.runs.lasso import inside_lasso, load_points, read_lasso


@dataclass(frozen=True)
class Selection:
    """What a particle must meet; None asks nothing, and all that is asked must be met.

    Attributes
    ----------
    max_junk, min_confidence : float or None
    clusters : tuple of int or None
    clustering : str
        "kmeans" or "mixture": whose clusters.
    classes : tuple of int or None
        rlnClassNumber.
    region : tuple of (component, low, high)
        Bounds of latent components; an open side is infinite.
    lasso : Path or None
        File of a polygon (runs.lasso).
    path : str
        Path that the two bounds that follow speak of.
    max_path_distance : float or None
        From that path, in the units of its coordinates (noise, where it is known).
    path_range : (low, high) or None
        Part of the path, from 0 at its beginning to 1 at its end.
    rows : Path or None
        .npy of 0-based rows, such as a selection that was saved in the dashboard.
    inverted : bool
    """

    max_junk: float | None = None
    min_confidence: float | None = None
    clusters: tuple[int, ...] | None = None
    clustering: str = "kmeans"
    classes: tuple[int, ...] | None = None
    region: tuple[tuple[int, float, float], ...] = ()
    lasso: Path | None = None
    path: str = "dominant"
    max_path_distance: float | None = None
    path_range: tuple[float, float] | None = None
    rows: Path | None = None
    inverted: bool = False


def selected_rows(run_dir: Path, selection: Selection, rows: pd.DataFrame) -> NDArray[np.bool_]:
    """(n,) which particles meet a selection.

    Parameters
    ----------
    rows : DataFrame
        Of the run's particles.star.

    Raises
    ------
    InputError
        The run lacks what the selection asks about.
    """
    keep = _by_columns(run_dir, selection, rows)
    if selection.clusters is not None:
        keep &= _of_run(run_dir, _in_clusters(run_dir, selection), keep)
    if selection.region:
        keep &= _of_run(run_dir, _in_region(run_dir, selection.region), keep)
    if selection.lasso is not None:
        keep &= _of_run(run_dir, inside_lasso(run_dir, read_lasso(selection.lasso)), keep)
    if selection.max_path_distance is not None or selection.path_range is not None:
        keep &= _of_run(run_dir, _near_path(run_dir, selection), keep)
    if selection.rows is not None:
        keep &= _listed(selection.rows, len(keep))
    return ~keep if selection.inverted else keep


def write_selection(
    run_dir: Path, out: Path, selection: Selection, indices: Path | None = None
) -> tuple[int, int, list[Path]]:
    """Write the selected particles; how many they are, of how many, and the files.

    A .star is written as .star, and a .cs as .cs with its .csg. Where the run's input was a .cs, what
    is asked for as .star comes as .cs too, beside it.

    Parameters
    ----------
    indices : Path, optional
        .npy of the selected 0-based rows.

    Raises
    ------
    InputError
        No particle meets the selection, the run lacks what it asks about, or the ending is unknown.
    """
    source = run_dir / "particles.cs"
    suffix = out.suffix.lower()
    require(suffix in (".star", ".cs"), f"{out} should end in .star or .cs: those are written.")
    require(
        suffix == ".star" or source.exists(),
        f"{run_dir} did not come from a .cs file, so none can be written: give a name that ends in .star.",
    )
    file = read_star(run_dir / "particles.star")
    rows = np.flatnonzero(selected_rows(run_dir, selection, file.rows))
    require(len(rows) > 0, "No particle meets the selection: nothing was written.")
    written = []
    if suffix == ".star":
        write_particles_star(out, file.subset(rows), {})
        written.append(out)
    if source.exists():
        fields = read_fields(source)
        require(
            len(fields) == len(file),
            f"{source} has {len(fields)} rows, particles.star {len(file)}: `nunatak resume` mends that.",
        )
        write_fields(out.with_suffix(".cs"), fields[rows])
        written.append(out.with_suffix(".cs"))
    if indices is not None:
        write_npy(indices, rows.astype(np.int64))
        written.append(indices)
    return len(rows), len(file), written


def parse_region(text: str) -> tuple[tuple[int, float, float], ...]:
    """Bounds of latent components: 0:-1:0.5,2::1 is component 0 from -1 to 0.5 and component 2 up to 1.

    Raises
    ------
    InputError
        It is something else.
    """
    bounds = []
    try:
        for part in text.split(","):
            component, low, high = part.split(":")
            bounds.append((int(component), float(low or "-inf"), float(high or "inf")))
    except ValueError:
        bounds = [(0, np.nan, np.nan)]
    require(
        all(component >= 0 and low <= high for component, low, high in bounds),
        f"--region expects COMPONENT:LOW:HIGH, several separated by commas, such as 0:-1:0.5; got '{text}'.",
    )
    return tuple(bounds)


def _by_columns(run_dir: Path, selection: Selection, rows: pd.DataFrame) -> NDArray[np.bool_]:
    keep = np.ones(len(rows), bool)
    for name, bound, sign in (
        ("nunatakJunk", selection.max_junk, 1),
        ("nunatakPoseConfidence", selection.min_confidence, -1),
    ):
        if bound is not None:
            require(name in rows, f"{run_dir}/particles.star has no column {name}.")
            keep &= sign * rows[name].to_numpy(float) <= sign * bound
    if selection.classes is not None:
        require("rlnClassNumber" in rows, f"{run_dir}/particles.star has no column rlnClassNumber.")
        keep &= np.isin(rows["rlnClassNumber"].to_numpy(), selection.classes)
    return keep


def _in_clusters(run_dir: Path, selection: Selection) -> NDArray[np.bool_]:
    path = run_dir / "analysis" / f"{selection.clustering}_labels.npy"
    require(path.exists(), f"{path} is missing: use `nunatak analyze {run_dir}` first.")
    return np.isin(np.load(path, allow_pickle=False), selection.clusters or ())


def _in_region(run_dir: Path, region: tuple[tuple[int, float, float], ...]) -> NDArray[np.bool_]:
    latents = load_points(run_dir, "latents")
    keep = np.ones(len(latents), bool)
    for component, low, high in region:
        if component >= latents.shape[1]:
            raise InputError(f"There is no latent component {component}: the run has {latents.shape[1]}.")
        keep &= (latents[:, component] >= low) & (latents[:, component] <= high)
    return keep


def _near_path(run_dir: Path, selection: Selection) -> NDArray[np.bool_]:
    path = run_dir / "analysis" / f"path_{selection.path}.npy"
    require(path.exists(), f"{path} is missing: use `nunatak analyze {run_dir}` first.")
    along, away = np.load(path, allow_pickle=False).T
    keep = np.ones(len(along), bool)
    if selection.max_path_distance is not None:
        keep &= away <= selection.max_path_distance
    if selection.path_range is not None:
        share = (along - along.min()) / max(float(np.ptp(along)), 1e-30)
        keep &= (share >= selection.path_range[0]) & (share <= selection.path_range[1])
    return keep


def _listed(path: Path, count: int) -> NDArray[np.bool_]:
    """Which particles a file of rows names."""
    try:
        rows = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} is no readable .npy of rows ({' '.join(str(error).split())}).") from error
    require(
        rows.ndim == 1 and rows.dtype.kind in "iu" and bool(((rows >= 0) & (rows < count)).all()),
        f"{path} should hold one axis of whole numbers from 0 to {count - 1}, the rows to keep.",
    )
    return np.isin(np.arange(count), rows)


def _of_run(run_dir: Path, found: NDArray[np.bool_], keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The same, where it has a value for each particle."""
    require(
        len(found) == len(keep),
        f"The analysis in {run_dir} is of {len(found)} particles, the run has {len(keep)}: analyze it again.",
    )
    return found

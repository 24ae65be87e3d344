"""Subsets of a run's particles: every column and the order are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nunatak.core.errors import InputError, require
from nunatak.io.star import read_star, write_particles_star


@dataclass(frozen=True)
class Selection:
    """What a particle must meet; None asks nothing.

    Attributes
    ----------
    max_junk, min_confidence : float or None
    clusters : tuple of int or None
    component : int
        Latent component of the two bounds that follow.
    above, below : float or None
    inverted : bool
    """

    max_junk: float | None = None
    min_confidence: float | None = None
    clusters: tuple[int, ...] | None = None
    component: int = 0
    above: float | None = None
    below: float | None = None
    inverted: bool = False


def _array(path: Path, what: str) -> NDArray:
    require(path.exists(), f"{path} is missing: {what}.")
    return np.load(path, allow_pickle=False)


def selected_rows(run_dir: Path, selection: Selection) -> NDArray[np.bool_]:
    """(n,) which particles meet a selection.

    Raises
    ------
    InputError
        The run lacks what the selection asks about.
    """
    rows = read_star(run_dir / "particles.star").rows
    keep = np.ones(len(rows), bool)
    for name, bound, sign in (
        ("nunatakJunk", selection.max_junk, 1),
        ("nunatakPoseConfidence", selection.min_confidence, -1),
    ):
        if bound is not None:
            require(name in rows, f"{run_dir}/particles.star has no column {name}.")
            keep &= sign * rows[name].to_numpy(float) <= sign * bound
    if selection.clusters is not None:
        labels = _array(run_dir / "volumes" / "kmeans_labels.npy", "run `nunatak analyze` first")
        keep &= np.isin(labels, selection.clusters)
    if selection.above is not None or selection.below is not None:
        latents = _array(run_dir / "latents.npy", "a homogeneous run has no latents")
        if selection.component >= latents.shape[1]:
            raise InputError(
                f"There is no latent component {selection.component}: the run has {latents.shape[1]}."
            )
        values = latents[:, selection.component]
        keep &= values >= (-np.inf if selection.above is None else selection.above)
        keep &= values <= (np.inf if selection.below is None else selection.below)
    return ~keep if selection.inverted else keep


def write_selection(run_dir: Path, out: Path, selection: Selection) -> tuple[int, int]:
    """Write the selected particles; how many they are, and of how many."""
    file = read_star(run_dir / "particles.star")
    keep = selected_rows(run_dir, selection)
    require(bool(keep.any()), "No particle meets the selection: nothing was written.")
    write_particles_star(out, file.subset(np.flatnonzero(keep)), {})
    return int(keep.sum()), len(keep)

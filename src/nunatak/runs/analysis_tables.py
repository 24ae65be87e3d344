"""Tables of an analysis as comma-separated files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nunatak.analysis.clusters import Clusters
from nunatak.analysis.deconvolution import Density
from nunatak.io.atomic import write_text
from nunatak.runs.study_maps import MapLandscape
from nunatak.runs.study_paths import StudiedPath


def write_table(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows under a line of names; numbers with six significant digits."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(value) for value in row] for row in rows)
    write_text(path, buffer.getvalue())


def write_clusters(path: Path, groups: dict[str, Clusters]) -> None:
    """clusters.csv: one row for each cluster of each kind."""
    rows = [
        (kind, k, int(size), int(row))
        for kind, found in groups.items()
        for k, (size, row) in enumerate(zip(found.sizes, found.representatives, strict=True))
    ]
    write_table(path, ("kind", "cluster", "particles", "representative"), rows)


def write_profile(path: Path, profile: Density, cells: NDArray) -> None:
    """profile_*.csv: density and free energy against the position along a curve, and its (m, d) cells."""
    names = ["position", "density", "raw_density", "free_energy_kT", "error_kT"]
    names += [f"component_{k}" for k in range(cells.shape[1])]
    columns = (profile.axes[0], profile.density, profile.raw, profile.free_energy_kT, profile.error_kT)
    columns = (*columns, *cells.T)
    write_table(path, names, zip(*columns, strict=True))


def write_path(path: Path, found: StudiedPath, latents: NDArray) -> None:
    """path_*.csv: support and free energy at the points of a path, and their latents."""
    axis = found.profile.axes[0]
    energy = np.interp(found.places, axis, found.profile.free_energy_kT)
    error = np.interp(found.places, axis, found.profile.error_kT)
    names = ["point", "position", "support", "free_energy_kT", "error_kT"]
    names += [f"component_{k}" for k in range(found.points.shape[1])]
    names += [f"latent_{k}" for k in range(latents.shape[1])]
    columns = (found.places, found.support, energy, error)
    rows = (
        (i, *(column[i] for column in columns), *found.points[i], *latents[i]) for i in range(len(latents))
    )
    write_table(path, names, rows)


def write_maps_table(path: Path, maps: MapLandscape) -> None:
    """map_landscape.csv: one row for each map of the landscape of maps."""
    space = maps.space
    count = space.coordinates.shape[1]
    names = ["map", "particle", "share", "cluster", *(f"component_{k}" for k in range(count))]
    names += [f"occupancy_{name}" for name in maps.block_names]
    rows = (
        (
            i,
            int(row),
            maps.shares[i],
            int(maps.space.labels[i]),
            *maps.space.coordinates[i],
            *maps.occupancies[i],
        )
        for i, row in enumerate(maps.particles)
    )
    write_table(path, names, rows)


def _cell(value: object) -> object:
    return f"{float(value):.6g}" if isinstance(value, float | np.floating) else value

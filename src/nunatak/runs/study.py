"""A finished run's latents made ready for analysis: coordinates, noise, measurements without the prior."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nunatak.analysis.coordinates import Coordinates, principal_coordinates
from nunatak.analysis.measurements import Measurements, without_prior
from nunatak.analysis.sampling import spread_rows
from nunatak.analysis.support import neighbour_covariances
from nunatak.core.errors import InputError, require
from nunatak.runs.volumes import LatentVolumes

DENSITY_PARTICLES = 15000
"""At most so many particles, evenly spaced, make the densities; their number is part of the result."""
LANDMARKS = 8000
"""At most so many particles are the nodes of the graph of nearest neighbours."""


@dataclass(frozen=True, eq=False)
class Study:
    """What every part of an analysis starts from.

    Attributes
    ----------
    volumes : LatentVolumes
    covariances : (n, q, q) or None
        Posterior covariances of the latents.
    frame : Coordinates
    positions : (n, q) float64
        Posterior means in the frame's coordinates.
    """

    volumes: LatentVolumes
    covariances: NDArray | None
    frame: Coordinates
    positions: NDArray[np.float64]

    @property
    def informed(self) -> int:
        """Leading coordinates that carry more than noise."""
        return self.frame.informed

    def __len__(self) -> int:
        return len(self.positions)

    def spreads(self, rows: NDArray) -> NDArray[np.float64]:
        """(k, d, d) posterior covariances of particles in the informed coordinates; round where unknown."""
        d = self.informed
        if self.covariances is None:
            return np.asarray(neighbour_covariances(self.positions[rows][:, :d]))
        return self.frame.covariances(self.covariances[rows])[:, :d, :d]

    def measurements(self, rows: NDArray | None = None) -> Measurements:
        """Measurements in the informed coordinates, the prior taken out; by default of an even subsample."""
        rows, d = spread_rows(len(self), DENSITY_PARTICLES) if rows is None else rows, self.informed
        if self.covariances is None:
            places = self.positions[rows][:, :d]
            exact = np.eye(d) * (1e-3 * places.std(0).max() + 1e-12) ** 2
            return Measurements(places, np.broadcast_to(exact, (len(rows), d, d)))
        alone = without_prior(self.volumes.latents[rows], self.covariances[rows])
        return _leading(alone.seen_along(self.frame.centre, self.frame.transform), d)

    def without_shrinkage(self, points: NDArray) -> NDArray[np.float64]:
        """(m, d) points of the informed coordinates where a particle of typical noise would truly be."""
        if self.covariances is None:
            return np.asarray(points, np.float64)
        mean = np.asarray(self.covariances[spread_rows(len(self), DENSITY_PARTICLES)], np.float64).mean(0)
        alone = without_prior(self.latents(points), np.repeat(mean[None], len(points), 0))
        return self.frame.of(alone.positions)[:, : self.informed]

    def latents(self, points: NDArray) -> NDArray[np.float64]:
        """(m, q) latents of (m, d) points of the leading coordinates, the others at their mean."""
        whole = np.zeros((len(points), self.positions.shape[1]))
        whole[:, : points.shape[1]] = points
        return self.frame.latents(whole)


def open_study(run_dir: Path) -> Study:
    """Read a run's latents and their covariances.

    Raises
    ------
    InputError
        The folder holds no finished heterogeneous run, or a damaged one.
    """
    volumes = LatentVolumes(run_dir)
    require(volumes.latent_dim > 0, f"{run_dir} is a homogeneous run: it has no latents to analyse.")
    latents = volumes.latents
    require(
        latents.ndim == 2 and latents.shape[1] == volumes.latent_dim and bool(np.isfinite(latents).all()),
        f"{run_dir}/latents.npy should be a (n, {volumes.latent_dim}) array of finite numbers, but is "
        f"{latents.dtype} of shape {latents.shape}: `nunatak resume {run_dir}` writes it again.",
    )
    covariances = _covariances(run_dir / "latents_covariance.npy", latents.shape)
    mean = None
    if covariances is not None:
        mean = np.asarray(covariances[spread_rows(len(latents), 50000)], np.float64).mean(0)
    frame = principal_coordinates(latents, mean)
    return Study(volumes, covariances, frame, frame.of(latents))


def _covariances(path: Path, shape: tuple[int, ...]) -> NDArray | None:
    if not path.exists():
        return None
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}).") from error
    wanted = (shape[0], shape[1], shape[1])
    require(found.shape == wanted, f"{path} should have the shape {wanted}, but has {found.shape}.")
    return found


def _leading(measured: Measurements, dimensions: int) -> Measurements:
    return Measurements(measured.positions[:, :dimensions], measured.covariances[:, :dimensions, :dimensions])

"""The paths of an analysis: where they lead, what supports them, and the free energy along them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nunatak.analysis.deconvolution import Density, deconvolved_density, grid_axis
from nunatak.analysis.dominant import dominant_curve
from nunatak.analysis.measurements import Measurements
from nunatak.analysis.mixture import NoiseMixture
from nunatak.analysis.paths import (
    component_path,
    energy_path,
    farthest_ends,
    graph_path,
    lifted,
    resampled,
    straight_path,
)
from nunatak.analysis.reaction import (
    Curve,
    curve_of,
    density_along_path,
    refined_curve,
)
from nunatak.analysis.sampling import spread_rows
from nunatak.analysis.support import point_support, support_warning
from nunatak.core.errors import InputError
from nunatak.runs.analysis_config import AnalysisConfig, PathName
from nunatak.runs.study import DENSITY_PARTICLES, LANDMARKS, Study

POINTS = 40
"""Points of a path at which its support is told."""
AGREED = 0.85
"""Dominant paths that agree less on the order of the particles are warned of."""
_PLANE_CELLS, _PLANE_PARTICLES = 40, 6000


@dataclass(frozen=True, eq=False)
class StudiedPath:
    """A path and what the data say of it.

    Attributes
    ----------
    name : str
    points : (m, d) float64
        In the informed coordinates.
    support : (m,) float64
    curve : Curve
        Where particles truly are along the path, for the density.
    profile : Density
        Against the distance along the curve.
    places : (m,) float64
        Distance along the curve of each point.
    agreement : float or None
        How far dominant paths from other beginnings have the same order of the particles; 1: all do. None of
        other paths, and of one through groups that lie apart.
    warning : str or None
    """

    name: PathName
    points: NDArray[np.float64]
    support: NDArray[np.float64]
    curve: Curve
    profile: Density
    places: NDArray[np.float64]
    agreement: float | None
    warning: str | None

    @property
    def barrier_kT(self) -> float:
        """Highest free energy between the ends of the path above the lower of its two sides."""
        energy = np.interp(self.places, self.profile.axes[0], self.profile.free_energy_kT)
        top = int(np.argmax(energy[2:-2])) + 2 if len(energy) > 6 else int(np.argmax(energy))
        return float(max(0.0, energy[top] - max(energy[: top + 1].min(), energy[top:].min())))


@dataclass(frozen=True, eq=False)
class Landscape:
    """What is known of all particles before any path.

    Attributes
    ----------
    density : Density
        Over the leading plane, or over the one coordinate that is informed.
    groups : NoiseMixture or None
        Of the measurements, where their errors are known.
    """

    density: Density
    groups: NoiseMixture | None = None


def landscape(
    study: Study,
    config: AnalysisConfig,
    generator: np.random.Generator,
    groups: NoiseMixture | None = None,
) -> Landscape:
    """The deconvolved density over the first two informed coordinates; over one if no second is informed."""
    measured = study.measurements()
    planes = min(2, study.informed)
    rows = spread_rows(len(measured), _PLANE_PARTICLES if planes == 2 else len(measured))
    leading = Measurements(measured.positions[rows, :planes], measured.covariances[rows, :planes, :planes])
    cells = _PLANE_CELLS if planes == 2 else 80
    axes = tuple(
        grid_axis(leading.positions[:, i], float(np.sqrt(np.median(leading.covariances[:, i, i]))), cells)
        for i in range(planes)
    )
    bootstraps = min(config.bootstraps, 8) if planes == 2 else config.bootstraps
    return Landscape(deconvolved_density(leading, axes, generator, bootstraps), groups)


def path_ends(study: Study, config: AnalysisConfig) -> tuple[NDArray[np.int64], int, int]:
    """Rows of the landmarks of the graph, and which of them are the two ends.

    Raises
    ------
    InputError
        A particle that was asked for does not exist.
    """
    rows = spread_rows(len(study), LANDMARKS)
    wanted = [config.from_particle, config.to_particle]
    for row in wanted:
        if row is not None and row >= len(study):
            raise InputError(f"There is no particle {row}: expected indices from 0 to {len(study) - 1}.")
    rows = np.unique(np.concatenate([rows, np.array([r for r in wanted if r is not None], np.int64)]))
    found = farthest_ends(study.positions[rows][:, : study.informed])
    start, end = (
        found[i] if row is None else int(np.searchsorted(rows, row)) for i, row in enumerate(wanted)
    )
    return rows, start, end


def studied_paths(
    study: Study,
    config: AnalysisConfig,
    plane: Landscape,
    generator: np.random.Generator,
    say: Callable[[str], None],
) -> list[StudiedPath]:
    """Every path that was asked for, in that order."""
    rows, start, end = path_ends(study, config)
    landmarks = study.positions[rows][:, : study.informed]
    measured = study.measurements()
    spread = spread_rows(len(study), 50000)
    places, spreads = study.positions[spread][:, : study.informed], study.spreads(spread)
    paths = []
    for name in dict.fromkeys(config.paths):
        say(f"path: {name}")
        points, curve, agreement = _path_and_curve(name, study, measured, landmarks, (start, end), plane)
        support = point_support(points, places, spreads)
        profile = density_along_path(measured, curve, generator, config.bootstraps)
        along = curve.positions(study.without_shrinkage(points))
        warnings = [support_warning(name, support), _order_warning(agreement)]
        warning = " ".join(one for one in warnings if one) or None
        paths.append(StudiedPath(name, points, support, curve, profile, along, agreement, warning))
    return paths


def recommended(paths: list[StudiedPath]) -> StudiedPath:
    """The dominant path, gaps in it included: another one only avoids them; else the best supported."""
    return max(paths, key=lambda path: (path.name == "dominant", float(path.support.min())))


def _path_and_curve(
    name: PathName,
    study: Study,
    measured: Measurements,
    landmarks: NDArray,
    ends: tuple[int, int],
    plane: Landscape,
) -> tuple[NDArray[np.float64], Curve, float | None]:
    """A path among posterior means, where particles truly are along it, and how sure their order is."""
    if name == "dominant":
        rows = spread_rows(len(study), DENSITY_PARTICLES)
        means = study.positions[rows][:, : study.informed]
        found = dominant_curve(measured, means, study.without_shrinkage, plane.groups)
        curve, sure = found.curve, found.agreement
        points = _like_means(resampled(curve.within, POINTS), study, landmarks)
        # From the end with the smaller first coordinate, as the others.
        forward = points[0, 0] <= points[-1, 0]
        return (points, curve, sure) if forward else (points[::-1], curve.turned_round(), sure)
    points = _way(name, study, landmarks, ends, plane)
    noise = float(np.sqrt(np.median(np.linalg.eigvalsh(measured.covariances)[:, 0])))
    curve = curve_of(study.without_shrinkage(points), noise)
    # The others are what was asked for; this one is meant to be where the particles are.
    return points, refined_curve(measured, curve) if name == "graph" else curve, None


def _order_warning(agreement: float | None) -> str | None:
    if agreement is None or agreement >= AGREED:
        return None
    return (
        "The order of the particles along the dominant path is uncertain: paths from other beginnings agree "
        f"with it to {agreement:.2f} (1 is entirely)."
    )


def _way(
    name: PathName, study: Study, landmarks: NDArray, ends: tuple[int, int], plane: Landscape
) -> NDArray[np.float64]:
    start, end = ends
    if name == "component":
        return component_path(study.positions[:, : study.informed], 0, POINTS)
    if name == "graph" and start != end:
        return graph_path(landmarks, start, end, POINTS)
    if name == "energy" and study.informed > 1 and start != end:
        density, first, second = plane.density, landmarks[start][:2], landmarks[end][:2]
        axes = (density.axes[0], density.axes[1])
        true_ends = [study.without_shrinkage(landmarks[[k]])[0, :2] for k in ends]
        way = energy_path(axes, density.density, true_ends[0], true_ends[1], POINTS)
        # The landscape has no prior in it; maps and support are told at posterior means.
        shrunk = _like_means(way, study, landmarks)
        shrunk[0], shrunk[-1] = first, second
        return lifted(shrunk, landmarks, 0.5 * float(landmarks[:, :2].std()))
    return straight_path(landmarks[start], landmarks[end], POINTS)


def _like_means(way: NDArray, study: Study, landmarks: NDArray) -> NDArray[np.float64]:
    """(m, k) points without a prior as posterior means of typical noise: the stretching undone.

    Parameters
    ----------
    way : (m, k)
        In the leading k coordinates.
    landmarks : (n, d)
    """
    k = way.shape[1]
    stretched = study.without_shrinkage(landmarks)[:, :k]
    design = np.concatenate([stretched, np.ones((len(stretched), 1))], 1)
    inverse = np.linalg.lstsq(design, landmarks[:, :k], rcond=None)[0]
    return np.concatenate([way, np.ones((len(way), 1))], 1) @ inverse

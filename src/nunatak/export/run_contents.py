"""What a report shows of a run folder: each part that is there, a sentence for each that is broken."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nunatak.core.errors import InputError, require
from nunatak.export.analysis_contents import AnalysisContents, read_analysis_contents
from nunatak.io.mrc import read_map
from nunatak.io.particle_file import ParticleFile
from nunatak.io.star import read_star
from nunatak.particles.stack_images import StackImages

EXAMPLES = 6
Part = TypeVar("Part")


@dataclass(frozen=True)
class DensityMap:
    """A (d, d, d) zyx map and its pixel size."""

    name: str
    density: NDArray[np.float32]
    pixel_size_A: float


@dataclass(frozen=True)
class FscTable:
    """Half-map correlation by shell; shell 0 is left out.

    Attributes
    ----------
    frequencies_per_A, correlation : (shells,) float64
    """

    frequencies_per_A: NDArray[np.float64]
    correlation: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ParticleTable:
    """What the run says about its n particles; None where it says nothing.

    Attributes
    ----------
    rotations : (n, 3, 3) or None
    shifts_A : (n, 2) or None
    confidence, junk_probability : (n,) or None
    count : int
    examples : (k, box, box) float32 or None
        A few images, evenly spaced in the file, where their stacks are still there.
    pixel_size_A : float
    """

    count: int
    rotations: NDArray | None
    shifts_A: NDArray | None
    confidence: NDArray | None
    junk_probability: NDArray | None
    examples: NDArray[np.float32] | None
    pixel_size_A: float


@dataclass(frozen=True, eq=False)
class RunContents:
    """A run folder, as far as it goes.

    Attributes
    ----------
    summary : dict
        summary.json; empty when there is none.
    history : tuple of dict
        Lines of history.jsonl.
    config : dict
        config.toml.
    fsc_molecule : FscTable or None
        Where the molecule is, without the noise around it.
    path_maps : tuple of DensityMap
        Maps along the best supported path of the analysis, or volumes/path_*.mrc, in order.
    analysis : AnalysisContents or None
    problems : tuple of str
        Sentences about files that are there but could not be read.
    """

    folder: Path
    summary: dict[str, Any]
    history: tuple[dict[str, Any], ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    particles: ParticleTable | None = None
    latents: NDArray | None = None
    mean: DensityMap | None = None
    fsc: FscTable | None = None
    fsc_molecule: FscTable | None = None
    path_maps: tuple[DensityMap, ...] = ()
    analysis: AnalysisContents | None = None
    problems: tuple[str, ...] = ()


def read_run_contents(run_dir: Path | str) -> RunContents:
    """Read what is there of a run folder; a broken part becomes a sentence in `problems`.

    Raises
    ------
    InputError
        When the folder does not exist.
    """
    folder = Path(run_dir)
    require(folder.is_dir(), f"{folder} is no run folder: give the folder that a run wrote its results to.")
    problems: list[str] = []

    def part(name: str, read: Callable[[Path], Part], absent: Part) -> Part:
        path = folder / name
        if not path.exists():
            return absent
        try:
            return read(path)
        except (InputError, OSError, ValueError, KeyError, IndexError, TypeError) as fault:
            problems.append(f"{name} could not be read and is left out of this report: {_one_line(fault)}.")
            return absent

    analysis = None
    if (folder / "analysis" / "analysis.json").exists():
        analysis = part("analysis", read_analysis_contents, None)
    paths = _path_files(folder, analysis)
    path_maps = [part(str(path.relative_to(folder)), _read_density, None) for path in paths]
    return RunContents(
        folder=folder,
        summary=part("summary.json", _read_summary, {}),
        history=part("history.jsonl", _read_history, ()),
        config=part("config.toml", _read_config, {}),
        particles=part("particles.star", _read_particles, None),
        latents=part("latents.npy", _read_latents, None),
        mean=part("mean.mrc", _read_density, None),
        fsc=part("fsc.csv", read_fsc, None),
        fsc_molecule=part("fsc_molecule.csv", read_fsc, None),
        path_maps=_of_one_shape([found for found in path_maps if found is not None]),
        analysis=analysis,
        problems=tuple(problems),
    )


def _path_files(folder: Path, analysis: AnalysisContents | None) -> list[Path]:
    """Maps of the states that the page shows."""
    if analysis is not None and analysis.recommended is not None:
        found = sorted((folder / "analysis" / "maps").glob(f"{analysis.recommended}_[0-9]*.mrc"))
        if found:
            return found
    return sorted((folder / "volumes").glob("path_*.mrc"))


def _read_summary(path: Path) -> dict[str, Any]:
    summary = json.loads(path.read_text(encoding="utf-8"))
    require(isinstance(summary, dict), "it should hold one JSON object")
    return summary


def _read_history(path: Path) -> tuple[dict[str, Any], ...]:
    """All whole lines: a run that goes on may be writing the last one."""
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return tuple(entry for entry in entries if isinstance(entry, dict))


def _read_config(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _read_density(path: Path) -> DensityMap:
    density, pixel_size_A, _ = read_map(path)
    require(bool(np.isfinite(density).all()), "it has voxels that are not numbers")
    require(len(set(density.shape)) == 1, f"it should be a cube, but its shape is {density.shape}")
    return DensityMap(path.stem, density, pixel_size_A)


def _read_latents(path: Path) -> NDArray | None:
    latents = np.load(path, allow_pickle=False)
    latents = latents.reshape(len(latents), -1)
    require(bool(np.isfinite(latents).all()), "it has values that are not numbers")
    return latents if latents.size else None


def read_fsc(path: Path) -> FscTable:
    """fsc.csv or fsc_molecule.csv of a run.

    Raises
    ------
    InputError
        It has fewer than three shells; ValueError or KeyError where it is no such table.
    """
    table = np.genfromtxt(path, delimiter=",", names=True, dtype=float, encoding="utf-8")
    resolutions_A, correlation = np.atleast_1d(table["resolution_A"]), np.atleast_1d(table["fsc"])
    known = np.isfinite(resolutions_A) & (resolutions_A > 0) & np.isfinite(correlation)
    require(int(known.sum()) > 2, "it has fewer than three shells")
    return FscTable(1 / resolutions_A[known], correlation[known])


def _read_particles(path: Path) -> ParticleTable:
    file = read_star(path)
    poses = file.poses
    return ParticleTable(
        count=len(file.rows),
        rotations=None if poses is None else poses.rotations.numpy(),
        shifts_A=None if poses is None else poses.shifts_A.numpy(),
        confidence=_column(file, "nunatakPoseConfidence"),
        junk_probability=_column(file, "nunatakJunk"),
        examples=_example_images(file),
        pixel_size_A=float(file.group_pixel_size_A[0]),
    )


def _column(file: ParticleFile, name: str) -> NDArray | None:
    if name not in file.rows:
        return None
    values = file.rows[name].to_numpy(np.float64)
    return values[np.isfinite(values)] if np.isfinite(values).any() else None


def _example_images(file: ParticleFile) -> NDArray[np.float32] | None:
    """Images of the first optics group; None when any is not to be had, which is no fault of the run's."""
    rows = np.flatnonzero(np.asarray(file.optics_group) == 0)
    rows = rows[np.linspace(0, len(rows) - 1, min(EXAMPLES, len(rows))).round().astype(int)]
    try:
        return np.asarray(StackImages(file.locations.subset(rows)).read(np.arange(len(rows))))
    except (InputError, OSError):
        return None


def _of_one_shape(maps: list[DensityMap]) -> tuple[DensityMap, ...]:
    """The maps that share the first one's box: only those can be compared."""
    return tuple(found for found in maps if found.density.shape == maps[0].density.shape)


def _one_line(fault: Exception) -> str:
    return " ".join(str(fault).split()).rstrip(".") or type(fault).__name__

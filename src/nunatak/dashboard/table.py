"""What a run says about every particle, finished or going on: columns, latents, views."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from nunatak.core.errors import InputError
from nunatak.geometry.rotations import euler_from_matrices
from nunatak.io.particle_file import ParticleFile
from nunatak.io.star import read_star
from nunatak.runs.progress import CheckpointHead

TITLES = {
    "nunatakPoseConfidence": "pose confidence",
    "nunatakJunk": "junk probability",
    "rlnAngleRot": "rot (°)",
    "rlnAngleTilt": "tilt (°)",
    "rlnAnglePsi": "psi (°)",
    "rlnOriginXAngst": "shift x (Å)",
    "rlnOriginYAngst": "shift y (Å)",
    "rlnDefocusU": "defocus U (Å)",
    "rlnDefocusV": "defocus V (Å)",
    "rlnDefocusAngle": "astigmatism angle (°)",
    "rlnRandomSubset": "half-set",
    "rlnClassNumber": "class",
    "rlnMicrographName": "micrograph",
    "rlnOpticsGroup": "optics group",
    "kmeans_labels": "cluster",
    "mixture_labels": "mixture",
    "map_of_particle": "cell of the map landscape",
    "umap": "UMAP",
    "components": "component",
}
MOST_CATEGORIES = 24
"""More kinds than that are shown as a scale, not as colours of their own."""
MOST_NAMES = 5000
"""More different words than that tell particles apart rather than group them."""


@dataclass(frozen=True, eq=False)
class Column:
    """One number per particle.

    Attributes
    ----------
    name, title : str
    values : (n,) float32
        Categories are numbered from 0; NaN where nothing is known.
    labels : tuple of str
        Names of the categories; empty for a scale.
    """

    name: str
    title: str
    values: NDArray[np.float32]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class RunTable:
    """What is known about n particles.

    Attributes
    ----------
    count : int
    columns : dict of Column
        By name, latents first.
    latents : (n, q) float32
        q = 0 for a homogeneous run.
    rotations : (n, 3, 3) float32 or None
    covariances : (n, q, q) float32 or None
        Of the latents' posteriors.
    shifts_A : (n, 2) float32 or None
        None also where the pixel size is not known yet.
    file : ParticleFile or None
        Of a finished run.
    """

    count: int
    columns: dict[str, Column]
    latents: NDArray[np.float32]
    rotations: NDArray[np.float32] | None
    shifts_A: NDArray[np.float32] | None
    covariances: NDArray[np.float32] | None = None
    file: ParticleFile | None = None


def finished_table(folder: Path) -> RunTable:
    """From particles.star, latents.npy and what the analysis left.

    Raises
    ------
    InputError
        particles.star is missing or no particle file.
    """
    file = read_star(folder / "particles.star")
    count = len(file)
    latents = _array(folder / "latents.npy", count)
    z = np.zeros((count, 0), np.float32) if latents is None else latents
    found = [*_latent_columns(z), *_analysis_columns(folder, count), *_star_columns(file.rows)]
    poses = file.poses
    return RunTable(
        count,
        {column.name: column for column in found},
        z,
        None if poses is None else poses.rotations.numpy().astype(np.float32),
        None if poses is None else poses.shifts_A.numpy().astype(np.float32),
        _covariances(folder / "latents_covariance.npy", z.shape),
        file,
    )


def running_table(head: CheckpointHead) -> RunTable | None:
    """From the last checkpoint; None before particles have poses.

    Raises
    ------
    InputError
        The checkpoint was replaced while it was read, or is damaged.
    """
    try:
        with safe_open(head.tensors, framework="numpy") as stored:
            names = set(stored.keys())
            known = {name: stored.get_tensor(key) for name, key in _TENSORS.items() if key in names}
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError("The checkpoint was just being replaced: ask again.") from error
    if "rotations" not in known:
        return None
    count = len(known["rotations"])
    z = known.get("latents", np.zeros((count, 0))).astype(np.float32).reshape(count, -1)
    rotations = known["rotations"].astype(np.float32)
    found = [*_latent_columns(z), *_angle_columns(rotations)]
    found += [
        Column(name, title, known[key].astype(np.float32))
        for key, (name, title) in _LIVE_COLUMNS.items()
        if key in known and len(known[key]) == count
    ]
    return RunTable(
        count, {column.name: column for column in found}, z, rotations, None, known.get("covariances")
    )


_TENSORS = {
    "rotations": "state.model.candidates.rotations",
    "latents": "state.model.candidates.latents",
    "covariances": "state.model.covariances",
    "evidence": "state.model.log_evidence",
    "halves": "state.model.halves",
    "confidence": "state.confidence",
    "junk": "state.junk",
}
_LIVE_COLUMNS = {
    "evidence": ("logEvidence", "log evidence"),
    "halves": ("halfSet", "half-set"),
    "confidence": ("nunatakPoseConfidence", "pose confidence"),
    "junk": ("nunatakJunk", "junk probability"),
}


def _latent_columns(latents: NDArray) -> Iterator[Column]:
    for number in range(latents.shape[1]):
        values = np.ascontiguousarray(latents[:, number], np.float32)
        yield Column(f"z{number + 1}", f"latent {number + 1}", values)


def _angle_columns(rotations: NDArray) -> Iterator[Column]:
    angles = euler_from_matrices(torch.from_numpy(rotations)).numpy().astype(np.float32)
    for number, name in enumerate(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")):
        yield Column(name, TITLES[name], np.ascontiguousarray(angles[:, number]))


def _analysis_columns(folder: Path, count: int) -> Iterator[Column]:
    """Whatever has a value per particle among the arrays that an analysis has left."""
    found = {path.name: path for part in ("volumes", "analysis") for path in (folder / part).glob("*.npy")}
    for _, path in sorted(found.items()):
        values = _array(path, count)
        if values is None or values.shape[1] > 16:
            continue
        for number in range(values.shape[1]):
            name = path.stem if values.shape[1] == 1 else f"{path.stem}{number + 1}"
            yield _categorised(name, _title(path.stem, number, values.shape[1]), values[:, number].copy())


def _title(stem: str, number: int, columns: int) -> str:
    if stem.startswith("path_") and columns == 2:
        return f"{stem.removeprefix('path_')} path: {('along', 'away from')[number]} it"
    words = TITLES.get(stem, stem.replace("_", " "))
    return words if columns == 1 else f"{words} {number + 1}"


def _covariances(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """(n, q, q) of a .npy file; None where it is missing, broken or does not fit the latents."""
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return values if values.shape == (*shape, shape[-1]) and np.isfinite(values).all() else None


def _array(path: Path, count: int) -> NDArray[np.float32] | None:
    """(n, k) numbers of a .npy file; None where it is missing, broken or of another length."""
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = values.ndim in (1, 2) and len(values) == count and values.dtype.kind in "fiub"
    return values.reshape(count, -1).astype(np.float32) if fits else None


def _star_columns(rows: pd.DataFrame) -> Iterator[Column]:
    """Columns of a star file that differ between particles."""
    for name in map(str, rows.columns):
        title = TITLES.get(name, name.removeprefix("rln").removeprefix("nunatak"))
        if name == "rlnImageName":
            continue
        series = rows[name]
        if pd.api.types.is_numeric_dtype(series):
            values = series.to_numpy(np.float32)
            if np.isfinite(values).any() and np.nanmin(values) != np.nanmax(values):
                yield _categorised(name, title, values)
            continue
        codes, labels = pd.factorize(series.astype(str), sort=True)
        if 1 < len(labels) <= MOST_NAMES:
            yield Column(name, title, codes.astype(np.float32), tuple(map(str, labels)))


def _categorised(name: str, title: str, values: NDArray[np.float32]) -> Column:
    """A column of few whole numbers as categories; any other as a scale."""
    known = values[np.isfinite(values)]
    kinds = np.unique(known[:2000])
    if len(kinds) <= MOST_CATEGORIES and (known == np.round(known)).all():
        kinds = np.unique(known)
        if len(kinds) <= MOST_CATEGORIES:
            codes = np.searchsorted(kinds, values).astype(np.float32)
            codes[~np.isfinite(values)] = np.nan
            return Column(name, title, codes, tuple(f"{kind:.0f}" for kind in kinds))
    return Column(name, title, values)

"""Analyse a finished run: every part of nunatak.analysis, and its results as files under RUN/analysis."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunatak import __version__
from nunatak.analysis.association import Association, associate
from nunatak.analysis.clusters import (
    Clusters,
    kmeans_clusters,
    mixture_clusters,
    noise_mixture,
    noise_mixture_clusters,
)
from nunatak.analysis.embedding import FITTED, umap_embedding
from nunatak.analysis.mixture import NoiseMixture
from nunatak.analysis.paths import arc_lengths, projected_on_path, resampled
from nunatak.core.errors import InputError
from nunatak.io.atomic import write_json, write_npy
from nunatak.io.mrc import write_map
from nunatak.io.star import read_star_tables
from nunatak.runs.analysis_config import AnalysisConfig
from nunatak.runs.analysis_tables import write_clusters, write_maps_table, write_path, write_profile
from nunatak.runs.labels import read_labels
from nunatak.runs.study import DENSITY_PARTICLES, LANDMARKS, Study, open_study
from nunatak.runs.study_maps import MapLandscape, block_masks, map_landscape
from nunatak.runs.study_paths import Landscape, StudiedPath, landscape, recommended, studied_paths

FOLDER, RESULT = "analysis", "analysis.json"
_OWN_FILE = re.compile(r"(maps/)?[A-Za-z0-9_]+\.(npy|csv|mrc|json)")
_COLUMNS = ("rlnClassNumber", "rlnMicrographName", "rlnDefocusU", "nunatakPoseConfidence", "rlnAngleTilt")
"""Columns of the run itself that latents are compared with."""
_NUISANCE = {"rlnDefocusU": "defocus", "rlnMicrographName": "micrograph", "rlnAngleTilt": "direction of view"}
_NUISANCE_CORRELATION = 0.3


def analyze_run(run_dir: Path | str, config: AnalysisConfig, say: Callable[[str], None]) -> dict[str, Any]:
    """Analyse a run into RUN/analysis; what analysis.json says (docs/analysis.md lists the files).

    Parameters
    ----------
    say : callable
        Told what is being done.

    Raises
    ------
    InputError
        The folder holds no finished heterogeneous run, or labels or blocks cannot be used; the results of an
        analysis before stay then.
    """
    run_dir = Path(run_dir)
    study = open_study(run_dir)
    labels: dict[str, NDArray] = {}
    for wanted in config.labels:
        labels |= read_labels(wanted, len(study))
    names, masks = block_masks(config.blocks, study.volumes.maps.shape[-1], study.volumes.pixel_size_A)
    out = run_dir / FOLDER
    _remove_results(out)
    generator = np.random.default_rng(config.seed)
    say("clusters")
    positions = study.positions
    groups = kmeans_clusters(positions, min(config.kmeans, len(study)), config.seed)
    mixture, components, without_errors = _mixture(study, config)
    say("landscape")
    plane = landscape(study, config, generator, without_errors)
    paths = studied_paths(study, config, plane, generator, say)
    say("maps")
    maps = map_landscape(study, config, names, masks)
    embedded = None
    if config.umap and len(study) > 3:
        say("UMAP")
        embedded = umap_embedding(positions, config.seed)
    say("columns")
    found = _associations(run_dir, study, labels, groups, config.seed)
    say("writing")
    files = _write_arrays(out, positions, groups, mixture, embedded)
    files += _write_landscape(out, plane)
    files += _write_paths(out, study, paths, config.steps)
    files += _write_maps(out, study, groups, maps)
    result = {
        "version": __version__,
        "particles": len(study),
        "latent_dim": study.volumes.latent_dim,
        "options": config.model_dump(mode="json"),
        "notes": _notes(study, embedded is not None),
        "components": _told_components(study),
        "kmeans": _told_clusters(groups),
        "mixture": {**_told_clusters(mixture), "fitted_components": components},
        "landscape": _told_landscape(plane),
        "paths": [_told_path(path) for path in paths],
        "recommended_path": recommended(paths).name if paths else None,
        "map_landscape": _told_maps(maps),
        "associations": [asdict(one) for one in found],
        "warnings": [*(path.warning for path in paths if path.warning), *_nuisance_warnings(found)],
        "files": sorted(files),
    }
    write_json(out / RESULT, result)
    return read_analysis(run_dir)


def _mixture(study: Study, config: AnalysisConfig) -> tuple[Clusters, int, NoiseMixture | None]:
    """Groups of the informed coordinates, with the latents' errors taken out where they are known."""
    informed = study.positions[:, : study.informed]
    if study.covariances is None:
        return *mixture_clusters(informed, config.mixture, config.seed), None
    found = noise_mixture(study.measurements, len(study), config.mixture)
    return noise_mixture_clusters(informed, study.measurements, found), len(found.weights), found


def read_analysis(run_dir: Path | str) -> dict[str, Any]:
    """What analysis.json of a run says.

    Raises
    ------
    InputError
        The run was not analysed, or the file is damaged.
    """
    path = Path(run_dir) / FOLDER / RESULT
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{run_dir} was not analysed yet: use `nunatak analyze` first.") from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): use `nunatak analyze {run_dir}` again."
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path} should hold one JSON object: use `nunatak analyze` again.")
    return content


def _remove_results(out: Path) -> None:
    """Remove what an earlier analysis wrote and nothing else: a user's own files may lie there."""
    try:
        listed = json.loads((out / RESULT).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    (out / RESULT).unlink()
    for name in listed:
        if isinstance(name, str) and _OWN_FILE.fullmatch(name):
            (out / name).unlink(missing_ok=True)


def _associations(
    run_dir: Path, study: Study, labels: dict[str, NDArray], groups: Clusters, seed: int
) -> list[Association]:
    """The labels that were given first, then the run's own columns."""
    columns, own = dict(labels), set[str]()
    star = run_dir / "particles.star"
    if star.exists():
        rows = read_star_tables(star).rows
        if len(rows) == len(study):
            own = {name for name in _COLUMNS if name in rows and name not in columns}
            columns |= {name: rows[name].to_numpy() for name in _COLUMNS if name in own}
    positions = study.positions[:, : study.informed]
    # Imaging leaves traces within tight groups of means, far below the particles' errors: no landscape.
    blurred = positions + np.random.default_rng(seed).normal(size=positions.shape)
    imaging = blurred if study.frame.in_noise_units else positions
    found = (
        associate(name, values, imaging if name in own else positions, groups.labels, seed)
        for name, values in columns.items()
    )
    return [one for one in found if one is not None]


def _nuisance_warnings(found: Sequence[Association]) -> list[str]:
    warnings = []
    for one in found:
        strength = one.knn if one.kind == "number" else one.knn - one.chance
        if one.name in _NUISANCE and strength > _NUISANCE_CORRELATION:
            warnings.append(
                f"The latents predict the {_NUISANCE[one.name]} ({one.name}, {one.knn:.2f}): part of the "
                "landscape may be no motion of the molecule."
            )
    return warnings


def _write_arrays(
    out: Path, positions: NDArray, groups: Clusters, mixture: Clusters, embedded: NDArray | None
) -> list[str]:
    arrays = {
        "components.npy": positions.astype(np.float32),
        "kmeans_labels.npy": groups.labels,
        "mixture_labels.npy": mixture.labels,
    }
    if embedded is not None:
        arrays["umap.npy"] = embedded
    for name, values in arrays.items():
        write_npy(out / name, values)
    write_clusters(out / "clusters.csv", {"kmeans": groups, "mixture": mixture})
    return [*arrays, "clusters.csv"]


def _write_landscape(out: Path, plane: Landscape) -> list[str]:
    found = plane.density
    if len(found.axes) == 1:
        write_profile(out / "landscape.csv", found, found.axes[0][:, None])
        return ["landscape.csv"]
    arrays = {
        "landscape_density.npy": found.density,
        "landscape_free_energy_kT.npy": found.free_energy_kT,
        "landscape_error_kT.npy": found.error_kT,
    }
    for name, values in arrays.items():
        write_npy(out / name, values.astype(np.float32))
    return list(arrays)


def _write_paths(out: Path, study: Study, paths: list[StudiedPath], steps: int) -> list[str]:
    files = []
    for path in paths:
        write_path(out / f"path_{path.name}.csv", path, study.latents(path.points))
        write_profile(out / f"profile_{path.name}.csv", path.profile, path.curve.points)
        along, away = projected_on_path(study.positions[:, : study.informed], path.points)
        # On the axis of the profile, so that a particle's place can be read off its free energy.
        along = np.interp(along, arc_lengths(path.points), path.places)
        write_npy(out / f"path_{path.name}.npy", np.stack([along, away], 1).astype(np.float32))
        files += [f"path_{path.name}.csv", f"profile_{path.name}.csv", f"path_{path.name}.npy"]
        for step, latent in enumerate(study.latents(resampled(path.points, steps))):
            files.append(f"maps/{path.name}_{step:02d}.mrc")
            write_map(out / files[-1], study.volumes.at(latent), study.volumes.pixel_size_A)
    return files


def _write_maps(out: Path, study: Study, groups: Clusters, maps: MapLandscape) -> list[str]:
    files = ["map_landscape.csv", "map_of_particle.npy"]
    write_maps_table(out / files[0], maps)
    write_npy(out / files[1], maps.cell_of_particle)
    pixel_A = study.volumes.pixel_size_A
    for cluster, row in enumerate(groups.representatives):
        files.append(f"maps/kmeans_{cluster:02d}.mrc")
        write_map(out / files[-1], study.volumes.at(study.volumes.latents[row]), pixel_A)
    coarse_A = pixel_A * study.volumes.maps.shape[-1] / maps.space.mean.shape[0]
    for number, component in enumerate(maps.space.components):
        files.append(f"maps/volume_component_{number}.mrc")
        write_map(out / files[-1], component, coarse_A)
    return files


def _notes(study: Study, embedded: bool) -> list[str]:
    """What was done to fewer than all particles, and what was not known."""
    notes = []
    count = len(study)
    if count > DENSITY_PARTICLES:
        notes.append(f"Densities and free energies are of {DENSITY_PARTICLES:,} evenly spaced particles.")
    if count > LANDMARKS:
        notes.append(f"Paths over the graph go through {LANDMARKS:,} evenly spaced particles.")
    if embedded and count > FITTED:
        notes.append(
            f"UMAP laid out {FITTED:,} evenly spaced particles; the others stand between their nearest."
        )
    if study.covariances is None:
        notes.append("The run has no covariances of the latents: densities are not deconvolved.")
    return notes


def _told_components(study: Study) -> dict[str, Any]:
    frame = study.frame
    return {
        "fractions": frame.fractions,
        "reliabilities": frame.reliabilities,
        "informed": study.informed,
        "in_noise_units": frame.in_noise_units,
        "centre": frame.centre,
        "transform": frame.transform,
    }


def _told_clusters(groups: Clusters) -> dict[str, Any]:
    return {"clusters": len(groups.sizes), "sizes": groups.sizes, "representatives": groups.representatives}


def _told_landscape(plane: Landscape) -> dict[str, Any]:
    found = plane.density
    return {
        "axes": [{"low": axis[0], "high": axis[-1], "cells": len(axis)} for axis in found.axes],
        "smoothing": found.smoothing,
    }


def _told_path(path: StudiedPath) -> dict[str, Any]:
    return {
        "name": path.name,
        "length": path.curve.length,
        "least_support": float(path.support.min()),
        "barrier_kT": path.barrier_kT,
        "order_agreement": path.agreement,
        "warning": path.warning,
    }


def _told_maps(maps: MapLandscape) -> dict[str, Any]:
    shares = [float(maps.shares[maps.state_of_map == k].sum()) for k in range(len(maps.states))]
    states = [
        {"present": [n for n, here in zip(maps.block_names, state, strict=True) if here], "share": share}
        for state, share in zip(maps.states, shares, strict=True)
    ]
    return {
        "maps": len(maps.particles),
        "fractions": maps.space.fractions,
        "clusters": int(maps.space.labels.max()) + 1,
        "blocks": list(maps.block_names),
        "states": states if maps.block_names else [],
    }

"""The run folder: what is written when a run ends, and the history while it goes on (see the README)."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nunatak.core.errors import RunError
from nunatak.geometry.poses import Poses
from nunatak.io.atomic import write_json, write_npy, write_text
from nunatak.io.cryosparc import write_particles_cs
from nunatak.io.mrc import write_map
from nunatak.io.particle_file import ParticleFile
from nunatak.io.relion import pose_columns
from nunatak.io.star import write_particles_star
from nunatak.particles.cache import ImageCache
from nunatak.particles.dataset import Particles
from nunatak.reconstruct.model import Model
from nunatak.reconstruct.passes import CLASSES, LANDSCAPE
from nunatak.reconstruct.state import Outcome, RunState
from nunatak.runs.curved import stored_landscape
from nunatak.runs.job import JobConfig
from nunatak.runs.tensors import write_tensors
from nunatak.runs.trained import stored_volume
from nunatak.runs.verdict import counted, particle_warnings, sentence
from nunatak.volumes.fsc import corrected_correlation, resolution_A
from nunatak.volumes.maps import change_box, mirrored

# The other hand: image axes x and y change sign (convention 8).
_FLIP = torch.diag(torch.tensor([-1.0, -1.0, 1.0]))


@dataclass(frozen=True)
class RunReport:
    """A run that has ended, with what is to be known about it besides its state."""

    job: JobConfig
    state: RunState
    warnings: tuple[str, ...]
    wall_s: float
    peak_memory_MB: float
    version: str
    command: str
    predicted_memory_MB: float | None = None
    peak_gpu_memory_MB: float | None = None


def append_history(folder: Path, state: RunState, elapsed_s: float) -> None:
    """Bring history.jsonl up to the state: earlier lines stay as they are, lines of a lost future go."""
    path = folder / "history.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    kept = lines[: len(state.history)]
    new = [json.dumps({"time_s": round(elapsed_s, 3), **record}) for record in state.history[len(kept) :]]
    write_text(path, "".join(line + "\n" for line in [*kept, *new]))


def final_poses(model: Model, cache: ImageCache, flip_hand: bool) -> Poses:
    """Poses as they are written: shifts in angstrom, the hand that was asked for."""
    rotations = model.candidates.rotations
    if flip_hand:
        rotations = _FLIP @ rotations
    return Poses(rotations, model.candidates.shifts_px * cache.pixel_size_A)


def run_resolution_A(state: RunState, cache: ImageCache) -> float | None:
    """Resolution at FSC 0.143 of independent half-sets; None where no structure was found."""
    if state.outcome is Outcome.NO_STRUCTURE or state.model is None:
        return None
    return resolution_A(state.model.correlation[0], cache.extent_A)


def _in_the_molecule(state: RunState, seed: int) -> Tensor | None:
    """(shells,) FSC of the half-maps without the noise around the molecule; None where nothing was found."""
    if state.outcome is Outcome.NO_STRUCTURE or state.model is None or len(state.model.maps) < 2:
        return None
    return corrected_correlation(state.model.maps[:, 0], torch.Generator().manual_seed(seed))


def write_results(folder: Path, particles: Particles, cache: ImageCache, report: RunReport) -> None:
    """Every file of the run folder but the report page."""
    state, flip = report.state, report.job.engine.flip_hand
    model = state.model
    if model is None:
        raise RunError("The run ended without a pose for any particle.")
    write_particle_files(folder, particles, cache, state, flip)
    box, pixel = cache.plane.box_px, cache.pixel_size_A
    whole = state.maps if state.maps is not None else model.maps.mean(0)
    hand = mirrored if flip else (lambda maps: maps)
    whole, pair = hand(change_box(whole, box)), hand(change_box(model.maps[:, :1], box))
    inside = _in_the_molecule(state, report.job.engine.seed)
    write_map(folder / "mean.mrc", whole[0].numpy(), pixel)
    if len(pair) == 2:
        write_map(folder / "half1.mrc", pair[0, 0].numpy(), pixel)
        write_map(folder / "half2.mrc", pair[1, 0].numpy(), pixel)
        _write_fsc(folder / "fsc.csv", model.correlation[0], cache.extent_A)
    if inside is not None:
        _write_fsc(folder / "fsc_molecule.csv", inside, cache.extent_A)
    if model.latent_dim:
        write_npy(folder / "latents.npy", model.candidates.latents.numpy().astype(np.float32))
        write_npy(folder / "latents_covariance.npy", model.covariances.numpy().astype(np.float32))
    tensors, stored = (
        {"maps": whole.contiguous()},
        {"pixel_size_A": repr(pixel), "particles": str(len(cache))},
    )
    if "decoder" in state.kept:
        trained, told = stored_volume(state.kept["decoder"], flip)
        tensors, stored = tensors | trained, stored | told
    if LANDSCAPE in state.kept:
        curved, told = stored_landscape(state.kept[LANDSCAPE], hand)
        tensors, stored = tensors | curved, stored | told
    write_tensors(folder / "model.safetensors", tensors, stored)
    write_json(folder / "summary.json", _summary(cache, report, inside))


def write_particle_files(
    folder: Path, particles: Particles, cache: ImageCache, state: RunState, flip: bool
) -> None:
    """particles.star, and particles.cs where the input was one: every input row with what was found."""
    model, table = state.model, particles.table
    if model is None or not isinstance(table, ParticleFile):
        return
    added = dict(pose_columns(final_poses(model, cache, flip)))
    added["rlnRandomSubset"] = model.halves.numpy() + 1
    if state.confidence is not None:
        added["nunatakPoseConfidence"] = np.round(state.confidence.numpy().astype(np.float64), 6)
    if CLASSES in state.kept:
        added["rlnClassNumber"] = state.kept[CLASSES].numpy() + 1
    if state.junk is not None:
        added["nunatakJunk"] = np.round(state.junk.numpy().astype(np.float64), 6)
    write_particles_star(folder / "particles.star", table, added)
    if table.cryosparc_rows is not None:
        write_particles_cs(folder / "particles.cs", table, added)


def _write_fsc(path: Path, correlation: Tensor, extent_A: float) -> None:
    lines = ["shell,resolution_A,fsc"]
    lines += [f"{s},{extent_A / s if s else math.inf:.4f},{float(f):.6f}" for s, f in enumerate(correlation)]
    write_text(path, "\n".join(lines) + "\n")


def _summary(cache: ImageCache, report: RunReport, inside: Tensor | None) -> dict[str, Any]:
    resolution = run_resolution_A(report.state, cache)
    return {
        "version": report.version,
        "command": report.command,
        "recipe": report.job.engine.recipe,
        "seed": report.job.engine.seed,
        "outcome": report.state.outcome.value,
        "outcome_sentence": sentence(report.state.outcome, resolution, len(cache), report.wall_s)
        + counted(report.state),
        "resolution_A": resolution,
        "resolution_molecule_A": None if inside is None else resolution_A(inside, cache.extent_A),
        "particles": len(cache),
        "box_px": cache.plane.box_px,
        "pixel_size_A": cache.pixel_size_A,
        "latent_dim": report.state.model.latent_dim if report.state.model else 0,
        "wall_s": round(report.wall_s, 2),
        "peak_memory_MB": round(report.peak_memory_MB, 1),
        "peak_gpu_memory_MB": report.peak_gpu_memory_MB and round(report.peak_gpu_memory_MB, 1),
        "predicted_memory_MB": report.predicted_memory_MB and round(report.predicted_memory_MB, 1),
        "warnings": [
            *report.warnings,
            *particle_warnings(report.state, cache, report.job.engine, resolution),
        ],
    }

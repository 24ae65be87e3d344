"""`nunatak embed`: new particles in the landscape of a finished run, as a folder of their own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nunatak import __version__
from nunatak.core.device import CPU, to_device
from nunatak.core.errors import InputError, require
from nunatak.io.atomic import write_json, write_npy
from nunatak.io.mrc import write_map
from nunatak.particles.checks import require_ctf
from nunatak.particles.dataset import Particles
from nunatak.reconstruct.newcomers import place_newcomers
from nunatak.reconstruct.prepare import prepare
from nunatak.runs.execute import read_input
from nunatak.runs.folder import write_particle_files
from nunatak.runs.job import InputConfig, read_config
from nunatak.runs.limits import require_contrast, require_free
from nunatak.runs.machine import use_machine
from nunatak.runs.tensors import write_tensors
from nunatak.runs.volumes import LatentVolumes
from nunatak.volumes.maps import change_box

SAME_EXTENT = 0.01
"""By how much the new images may be larger or smaller than the run's, as a fraction."""


def _summary(run_dir: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((run_dir / "summary.json").read_text()))
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{run_dir} holds no finished run: its summary.json cannot be read.") from error


def require_same_extent(volumes: LatentVolumes, particles: Particles, run_dir: Path) -> None:
    """Raise InputError where new images show another field of view than the run's maps."""
    run_A = volumes.maps.shape[-1] * volumes.pixel_size_A
    new_A = particles.box_px * particles.pixel_size_A
    require(
        abs(new_A / run_A - 1) < SAME_EXTENT,
        f"The images are {new_A:.4g} A wide but those of {run_dir} {run_A:.4g} A: extract particles in a box "
        f"of {run_A:.4g} A.",
    )


def embed_particles(
    run_dir: Path,
    config: InputConfig,
    out: Path,
    machine: tuple[str, int] = ("auto", 0),
    progress: Callable[[float], None] = lambda fraction: None,
) -> dict[str, Any]:
    """Orient and embed particles with a finished run's model, which is not changed.

    Writes particles.star (and .cs), latents.npy, latents_covariance.npy, mean.mrc, model.safetensors and
    summary.json, so that `nunatak volumes` and `nunatak evaluate` take the folder as they take a run's.

    Parameters
    ----------
    machine : (str, int)
        Device and threads, as nunatak.runs.machine.use_machine takes them.

    Returns
    -------
    dict
        What summary.json holds.

    Raises
    ------
    InputError
        The run is not finished, or the particles do not fit it.
    """
    began = time.monotonic()
    require_free(out)
    require(
        not (out / "particles.star").exists(),
        f"{out} already holds particles: choose another folder.",
    )
    volumes, summary = LatentVolumes(run_dir), _summary(run_dir)
    job = read_config(run_dir / "config.toml")
    device, _ = use_machine(*machine)
    particles = read_input(config)
    if not config.no_ctf:
        require_ctf(particles)
    require_same_extent(volumes, particles, run_dir)
    context = prepare(particles, job.engine, device=device)
    require_contrast(context.cache)
    context.progress.target = progress
    maps = change_box(torch.from_numpy(np.ascontiguousarray(volumes.maps)), particles.box_px).to(device)
    resolution_A = summary.get("resolution_A")
    radius = round(context.cache.extent_A / resolution_A) if resolution_A else context.consensus.radius_end_px
    state = to_device(place_newcomers(maps, context, radius), CPU)
    out.mkdir(parents=True, exist_ok=True)
    # The maps are in the hand that the run was asked for, and so are poses found with them.
    write_particle_files(out, particles, to_device(context.cache, CPU), state, False)
    model = state.oriented
    if model.latent_dim:
        write_npy(out / "latents.npy", model.candidates.latents.numpy().astype(np.float32))
        write_npy(out / "latents_covariance.npy", model.covariances.numpy().astype(np.float32))
    pixel_A = particles.pixel_size_A
    write_map(out / "mean.mrc", maps[0].cpu().numpy(), pixel_A)
    stored = {"pixel_size_A": repr(pixel_A), "particles": str(len(particles))}
    write_tensors(out / "model.safetensors", {"maps": maps.cpu().contiguous()}, stored)
    told = {
        "version": __version__,
        "embedded_with": str(run_dir),
        "particles": len(particles),
        "latent_dim": model.latent_dim,
        "radius_px": radius,
        "median_confidence": round(float(state.confidence.median()), 4)
        if state.confidence is not None
        else None,
        "junk_expected": round(float(state.junk.sum()), 1) if state.junk is not None else None,
        "warnings": list(context.warnings),
        "wall_s": round(time.monotonic() - began, 2),
    }
    write_json(out / "summary.json", told)
    return told

"""Run folders to look at: finished, going on, and large."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fake_run_folder import blobs, write_run_folder

from nunatak.geometry.poses import Poses
from nunatak.geometry.rotations import euler_from_matrices, random_rotations
from nunatak.io.atomic import write_json, write_npy, write_text
from nunatak.io.mrc import read_map, write_map
from nunatak.io.relion import pose_columns
from nunatak.io.star import read_star, write_particles_star, write_star_tables
from nunatak.metrics.volume_score import MapPlacement, place_in_truth_frame
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.model import Model
from nunatak.reconstruct.state import RunState
from nunatak.runs.checkpoint import load_checkpoint, save_checkpoint
from nunatak.runs.job import InputConfig, JobConfig, config_text
from nunatak.runs.tensors import write_tensors
from nunatak.search.candidates import Candidates

PIXEL_A = 4.0
LATENT_DIM = 4


def finished_run(folder: Path, particles: int = 300, box: int = 32) -> Path:
    """A finished run with maps that move along its first latent."""
    volumes = blobs(box=box)
    write_run_folder(folder, volumes, particles, PIXEL_A)
    components = np.zeros((1 + LATENT_DIM, box, box, box), np.float32)
    components[0] = volumes.mean(0)
    components[1] = 0.5 * (volumes[-1] - volumes[0])
    components[2] = 0.2 * (volumes[2] - components[0])
    stored = {"pixel_size_A": repr(PIXEL_A), "particles": str(particles)}
    write_tensors(folder / "model.safetensors", {"maps": torch.from_numpy(components)}, stored)
    write_npy(folder / "volumes" / "kmeans_labels.npy", np.arange(particles, dtype=np.int32) % 3)
    _write_config(folder)
    write_text(folder / "command.txt", "nunatak abinit particles.star -o run --latent-dim 4 --seed 7\n")
    return folder


def running_run(folder: Path, particles: int = 200, box: int = 24) -> Path:
    """A run in its joint passes: history and checkpoint, no results."""
    folder.mkdir(parents=True)
    source = write_run_folder(folder.parent / f".{folder.name}-input", blobs(box=box), particles, PIXEL_A)
    _write_config(folder, source / "particles.star")
    generator = torch.Generator().manual_seed(0)
    model = Model(
        maps=torch.from_numpy(blobs(states=1 + LATENT_DIM, box=box)).expand(2, -1, -1, -1, -1).clone(),
        radius_px=10,
        correlation=torch.linspace(1, 0, 12).expand(1 + LATENT_DIM, -1).clone(),
        candidates=Candidates(
            random_rotations(particles, generator).float(),
            torch.zeros(particles, 2),
            torch.ones(particles),
            torch.randn(particles, LATENT_DIM, generator=generator),
            torch.arange(particles),
        ),
        covariances=torch.zeros(particles, LATENT_DIM, LATENT_DIM),
        noise_variance=torch.ones(12),
        halves=torch.arange(particles) % 2,
        log_evidence=torch.randn(particles, generator=generator),
    )
    history = tuple(
        {
            "stage": "poses and latents",
            "radius_px": 10,
            "log_evidence": 100.0 + i,
            "pose_change_deg": 9.0 / (i + 1),
        }
        for i in range(4)
    )
    state = RunState(stage=5, passes=3, model=model, history=history)
    lines = [json.dumps({"time_s": 10.0 * (i + 1), **record}) for i, record in enumerate(history)]
    write_text(folder / "history.jsonl", "\n".join(lines) + "\n")
    save_checkpoint(folder / "checkpoint", state, 40.0)
    return folder


def go_on(folder: Path) -> None:
    """Let a running run do one more pass."""
    state, elapsed_s = load_checkpoint(folder / "checkpoint")
    record = {"stage": "poses and latents", "radius_px": 11, "log_evidence": 120.0, "pose_change_deg": 1.0}
    history = (*state.history, record)
    moved = replace(state.model, maps=state.model.maps.flip(-1))
    state = replace(state, passes=state.passes + 1, history=history, model=moved)
    lines = [json.dumps({"time_s": 10.0 * (i + 1), **one}) for i, one in enumerate(history)]
    write_text(folder / "history.jsonl", "\n".join(lines) + "\n")
    save_checkpoint(folder / "checkpoint", state, elapsed_s + 10.0)


def fall_silent(folder: Path) -> None:
    """Let a running run have written nothing for a day."""
    long_ago = time.time() - 86400
    for name in ("checkpoint/current.json", "history.jsonl", "config.toml"):
        os.utime(folder / name, (long_ago, long_ago))


def turned_run(folder: Path, like: Path) -> Path:
    """The same particles as another run in another frame: what a second ab initio run would give."""
    finished_run(folder)
    file = read_star(like / "particles.star")
    turn = random_rotations(1, torch.Generator().manual_seed(4))[0].to(file.poses.rotations.dtype)
    poses = Poses(file.poses.rotations @ turn, file.poses.shifts_A)
    write_particles_star(folder / "particles.star", file, dict(pose_columns(poses)))
    latents = np.load(like / "latents.npy")
    mixing = np.random.default_rng(2).normal(size=(LATENT_DIM, LATENT_DIM))
    write_npy(folder / "latents.npy", (latents @ mixing).astype(np.float32))
    # In the turned frame a point u of the first map lies at turn^T u.
    mean, pixel_A, _ = read_map(like / "mean.mrc")
    placed = place_in_truth_frame(mean, MapPlacement(turn.numpy().astype(float).T, 1, np.zeros(3)))
    write_map(folder / "mean.mrc", placed, pixel_A)
    return folder


def large_run(folder: Path, particles: int = 500_000) -> Path:
    """Many particles in a few clusters, without images."""
    finished_run(folder, particles=300)
    generator = np.random.default_rng(3)
    centres = generator.normal(0, 2, (5, LATENT_DIM))
    label = generator.integers(0, 5, particles)
    latents = centres[label] + generator.normal(0, 0.6, (particles, LATENT_DIM))
    write_npy(folder / "latents.npy", latents.astype(np.float32))
    write_npy(folder / "volumes" / "kmeans_labels.npy", label.astype(np.int32))
    angles = euler_from_matrices(random_rotations(particles, torch.Generator().manual_seed(2))).numpy()
    optics = read_star(folder / "particles.star").optics_rows
    rows = pd.DataFrame(
        {
            "rlnImageName": [f"{i + 1:06d}@many.mrcs" for i in range(particles)],
            "rlnOpticsGroup": 1,
            "rlnDefocusU": generator.uniform(8000, 25000, particles).round(1),
            "nunatakPoseConfidence": generator.beta(5, 1.6, particles).round(4),
        }
    )
    rows[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]] = angles.round(3)
    rows[["rlnOriginXAngst", "rlnOriginYAngst"]] = 0.0
    write_star_tables(folder / "particles.star", {"optics": optics, "particles": rows})
    summary = json.loads((folder / "summary.json").read_text())
    write_json(folder / "summary.json", {**summary, "particles": particles})
    return folder


def _write_config(folder: Path, particles: Path | None = None) -> None:
    source = particles or folder / "particles.star"
    job = JobConfig(input=InputConfig(particles=source), engine=EngineConfig(latent_dim=LATENT_DIM, seed=7))
    write_text(folder / "config.toml", config_text(job))

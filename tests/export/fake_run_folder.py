"""A run folder like a real one, from given maps, to look at reports before there are runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter, shift

from nunatak.geometry.rotations import euler_from_matrices, random_rotations
from nunatak.io.atomic import write_json, write_npy, write_text
from nunatak.io.mrc import write_map, write_stack
from nunatak.io.star import write_star_tables

CONFIG = """
recipe = "heterogeneous"
seed = 7
latent_dim = 4
[search]
base_grid_deg = 15.0
kept_poses = 8
l_start = 12
l_end = 32
[stages.consensus]
restarts = 3
batch = 100
prior = 0.1
[output]
half_maps = true
symmetry = ""
"""


def blobs(states: int = 5, box: int = 24) -> np.ndarray:
    """(states, box, box, box) maps of a body and an arm that moves."""
    body = np.zeros((box,) * 3, np.float32)
    c = box // 2
    for z, y, x, height in ((0, 0, 0, 3), (2, -3, 1, 2), (-3, 2, 2, 2), (1, 3, -3, 2)):
        body[c + z, c + y, c + x] = height
    arm = np.zeros_like(body)
    arm[c - 4, c - 2, c] = 2.5
    moved = [body + shift(arm, (0, 4 * t - 2, 3 * t), order=1) for t in np.linspace(0, 1, states)]
    return np.stack([gaussian_filter(volume, 1.4) for volume in moved]).astype(np.float32)


def write_run_folder(
    folder: Path, volumes: np.ndarray | None = None, particles: int = 300, pixel_size_A: float = 4.0
) -> Path:
    """A complete, converged, heterogeneous run."""
    generator = np.random.default_rng(5)
    volumes = blobs() if volumes is None else volumes
    mean = volumes.mean(0)
    noise = 0.12 * mean.std()
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("mean", "half1", "half2"):
        noisy = mean + noise * generator.normal(size=mean.shape)
        write_map(folder / f"{name}.mrc", noisy, pixel_size_A)
    for number, volume in enumerate(volumes):
        write_map(folder / f"volumes/path_{number:03d}.mrc", volume, pixel_size_A)
    _write_particles(folder, mean, particles, pixel_size_A, generator)
    angle = generator.uniform(-2, 2, particles)
    latents = np.stack([angle, 0.5 * angle**2 - 0.7, 0 * angle, 0 * angle], 1)
    write_npy(
        folder / "latents.npy", (latents + generator.normal(size=latents.shape) * 0.25).astype(np.float32)
    )
    _write_fsc(folder, mean.shape[0], pixel_size_A)
    write_text(folder / "config.toml", CONFIG)
    _write_history(folder, generator)
    write_json(folder / "summary.json", summary(particles, mean.shape[0], pixel_size_A))
    return folder


def summary(particles: int, box: int, pixel_size_A: float) -> dict:
    """summary.json of the fake run."""
    sentence = f"Converged: {4.2 * pixel_size_A:.1f} Å from {particles:,} particles in 2 min 10 s."
    return {
        "version": "0.1.0",
        "command": "nunatak abinit particles.star -o run --latent-dim 4 --seed 7",
        "recipe": "heterogeneous",
        "seed": 7,
        "outcome": "converged",
        "outcome_sentence": sentence,
        "resolution_A": 4.2 * pixel_size_A,
        "particles": particles,
        "box_px": box,
        "pixel_size_A": pixel_size_A,
        "latent_dim": 4,
        "wall_s": 130.4,
        "peak_memory_MB": 1830.0,
        "warnings": [
            f"{particles:,} particles are few for the claimed resolution: treat fine detail with care."
        ],
        "truth": {
            "n": particles,
            "hand": -1,
            "rot_median_deg": 3.41,
            "rot_mean_deg": 6.7,
            "rot_within_10deg": 0.912,
            "rot_within_state_median_deg": 3.02,
            "shift_median_A": 1.44,
            "mean_fsc05_A": 13.9,
            "mean_fsc_auc": 0.372,
            "latent_knn": 0.941,
            "latent_pose_leak": -0.02,
        },
    }


def _write_particles(
    folder: Path, mean: np.ndarray, particles: int, pixel_size_A: float, generator: np.random.Generator
) -> None:
    rotations = random_rotations(particles, torch.Generator().manual_seed(1))
    # Some views are preferred, as on a real grid.
    tilted = generator.random(particles) < 0.25
    angles = euler_from_matrices(rotations).numpy()
    angles[tilted, 1] = np.abs(generator.normal(20, 8, tilted.sum()))
    angles[tilted, 0] = generator.normal(60, 25, tilted.sum())
    count = 6
    images = np.stack([mean.sum(axis=i % 3) for i in range(count)])
    images = images / images.std() + 2.5 * generator.normal(size=images.shape)
    write_stack(folder / "particles.mrcs", images, pixel_size_A)
    names = [f"{i % count + 1:06d}@{folder.resolve()}/particles.mrcs" for i in range(particles)]
    rows = pd.DataFrame({"rlnImageName": names, "rlnOpticsGroup": 1, "rlnDefocusU": 15000.0})
    rows[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]] = angles
    rows[["rlnOriginXAngst", "rlnOriginYAngst"]] = generator.normal(0, 6, (particles, 2))
    rows["rlnRandomSubset"] = np.arange(particles) % 2 + 1
    rows["nunatakPoseConfidence"] = generator.beta(5, 1.6, particles)
    rows["nunatakJunk"] = generator.beta(0.4, 6, particles)
    optics = {
        "rlnOpticsGroup": [1],
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.1],
        "rlnImagePixelSize": [pixel_size_A],
        "rlnImageSize": [mean.shape[0]],
        "rlnImageDimensionality": [2],
    }
    write_star_tables(folder / "particles.star", {"optics": pd.DataFrame(optics), "particles": rows})


def _write_fsc(folder: Path, box: int, pixel_size_A: float) -> None:
    generator = np.random.default_rng(0)
    lines, inside = ["shell,resolution_A,fsc"], ["shell,resolution_A,fsc"]
    for k in range(1, box // 2 + 1):
        frequency = k / box
        value = 1 / (1 + (frequency * 4.2) ** 9 * 6) + 0.02 * generator.normal()
        lines.append(f"{k},{pixel_size_A / frequency:.4f},{value:.5f}")
        inside.append(f"{k},{pixel_size_A / frequency:.4f},{1 / (1 + (frequency * 3.2) ** 9 * 6):.5f}")
    write_text(folder / "fsc.csv", "\n".join(lines) + "\n")
    write_text(folder / "fsc_molecule.csv", "\n".join(inside) + "\n")


def _write_history(folder: Path, generator: np.random.Generator) -> None:
    lines, time_s = [], 0.0
    for restart in range(3):
        for update in range(30):
            time_s += 0.7
            rise = 1 / (1 + np.exp(-(update - 12 - 4 * restart) / 3))
            lines.append(_entry(time_s, "consensus", restart, update, rise * (1 - 0.15 * restart), generator))
    for stage, length in (("joint", 40), ("refine", 15)):
        for update in range(length):
            time_s += 1.0
            level = (1.2 if stage == "joint" else 1.5) + 0.3 * update / length
            lines.append(_entry(time_s, stage, 0, update, level, generator))
    write_text(folder / "history.jsonl", "\n".join(json.dumps(line) for line in lines) + "\n")


def _entry(
    time_s: float, stage: str, restart: int, update: int, level: float, generator: np.random.Generator
) -> dict:
    return {
        "time_s": time_s,
        "stage": stage,
        "restart": restart,
        "update": update,
        "radius_px": round(10 + 8 * level),
        "fsc_resolution_A": 60 / (1 + 1.6 * level) + 0.5 * generator.normal(),
        "log_evidence": 4.0 * level + 0.08 * generator.normal(),
        "pose_change_deg": 60 * np.exp(-2.4 * level) + 2 * generator.random(),
    }

"""A simulation's truth folder and a run folder whose error is known, small enough for a test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import roma
import starfile
import torch
from scipy.ndimage import affine_transform, gaussian_filter

from nunatak.geometry.rotations import euler_from_matrices, matrices_from_euler, random_rotations

PIXEL_SIZE_A = 4.0
FRAME = roma.rotvec_to_rotmat(torch.tensor([0.4, 1.1, -0.7], dtype=torch.float64)).numpy()
ORIGIN_A = np.array([4.0, -6.0, 2.0])
FLIP = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Fault:
    """What is wrong with the fake run; the rotation error is a median."""

    hand: int = 1
    rotation_deg: float = 3.0
    shift_A: float = 1.0
    random_fraction: float = 0.0
    latent_noise: float = 0.1


def write_truth(folder: Path, particles: int, coordinates: np.ndarray, box: int = 24, junk: int = 0) -> None:
    """Truth of a blob beside a moving blob, in the layout of `nunatak simulate`."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(1)
    rotations = random_rotations(particles, torch.Generator().manual_seed(2)).double().numpy()
    labels = generator.integers(0, len(coordinates), particles)
    volumes = np.stack([_volume(box, t / max(1, len(coordinates) - 1)) for t in range(len(coordinates))])
    np.savez(
        folder / "truth.npz",
        R=rotations,
        shift_A=generator.uniform(-6, 6, (particles, 2)),
        label=labels,
        t=coordinates,
        junk=np.arange(particles) < junk,
        contrast=np.ones(particles),
        apix=PIXEL_SIZE_A,
    )
    np.save(folder / "volumes.npy", volumes)
    weights = np.bincount(labels, minlength=len(coordinates)) / particles
    _write_map(folder / "mean.mrc", np.tensordot(weights, volumes, 1))
    _write_star(folder / "particles.star", _rows(particles))


def write_run(folder: Path, truth_folder: Path, fault: Fault, maps_at: tuple[int, ...] = ()) -> None:
    """A run in a frame, origin and hand of its own, with the given fault."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(3)
    truth = np.load(truth_folder / "truth.npz")
    particles = len(truth["R"])
    rows = _rows(particles)
    true = truth["R"] @ FRAME
    rotations = _turned(true, fault, generator)
    rotations = rotations if fault.hand == 1 else FLIP @ rotations
    angles = euler_from_matrices(torch.from_numpy(rotations)).numpy()
    rows[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]] = angles
    moved = truth["shift_A"] + truth["R"][:, :2] @ ORIGIN_A + fault.shift_A * _unit(generator, particles, 2)
    rows[["rlnOriginXAngst", "rlnOriginYAngst"]] = moved
    rows["nunatakJunk"] = np.clip(0.5 * truth["junk"] + 0.6 * generator.random(particles), 0, 1)
    _write_star(folder / "particles.star", rows)
    state = truth["t"][truth["label"]]
    latents = np.stack([state, 0 * state], 1) + fault.latent_noise * generator.normal(size=(particles, 2))
    np.save(folder / "latents.npy", latents.astype(np.float32))
    volumes = np.load(truth_folder / "volumes.npy")
    mean = mrcfile.read(truth_folder / "mean.mrc")
    noise = 0.3 * mean.std() * generator.normal(size=mean.shape)
    _write_map(folder / "mean.mrc", _in_run_frame(mean, fault.hand) + noise)
    (folder / "volumes").mkdir(exist_ok=True)
    for particle in maps_at:
        volume = _in_run_frame(volumes[truth["label"][particle]], fault.hand)
        _write_map(folder / f"volumes/vol_{particle:06d}.mrc", volume)


def _turned(rotations: np.ndarray, fault: Fault, generator: np.random.Generator) -> np.ndarray:
    # The median length of a 3-D Gaussian vector is 1.538 deviations.
    deviation = np.radians(fault.rotation_deg) / 1.538
    axis = torch.from_numpy(deviation * generator.normal(size=(len(rotations), 3)))
    turned = roma.rotvec_to_rotmat(axis).numpy() @ rotations
    wrong = generator.random(len(rotations)) < fault.random_fraction
    angles = torch.from_numpy(generator.uniform(0, 180, (int(wrong.sum()), 3)))
    turned[wrong] = matrices_from_euler(angles).numpy()
    return turned


def _unit(generator: np.random.Generator, count: int, dimension: int) -> np.ndarray:
    vectors = generator.normal(size=(count, dimension))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _volume(box: int, fraction: float) -> np.ndarray:
    volume = np.zeros((box, box, box), np.float32)
    c = box // 2
    volume[c, c, c] = 3
    volume[c + 3, c - 4, c + 2] = 2
    volume[c - 4, c + 2, c + 4] = 1
    volume[c + 2, c + round(5 * fraction) - 1, c - 5] = 2
    return gaussian_filter(volume, 1.2)


def _in_run_frame(volume: np.ndarray, hand: int) -> np.ndarray:
    matrix = (FRAME * hand)[::-1, ::-1]
    centre = np.full(3, volume.shape[0] // 2)
    offset = centre - matrix @ centre - (ORIGIN_A / PIXEL_SIZE_A)[::-1]
    return affine_transform(volume, matrix, offset=offset, order=3)


def _rows(particles: int) -> pd.DataFrame:
    return pd.DataFrame({"rlnImageName": [f"{i + 1:06d}@particles.mrcs" for i in range(particles)]})


def _write_star(path: Path, rows: pd.DataFrame) -> None:
    optics = pd.DataFrame({"rlnOpticsGroup": [1], "rlnImagePixelSize": [PIXEL_SIZE_A]})
    starfile.write({"optics": optics, "particles": rows}, path, overwrite=True)


def _write_map(path: Path, volume: np.ndarray) -> None:
    with mrcfile.new(path, overwrite=True) as opened:
        opened.set_data(volume.astype(np.float32))
        opened.voxel_size = PIXEL_SIZE_A

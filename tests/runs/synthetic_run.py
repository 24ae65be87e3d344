"""The folder of a finished run, made from latents alone: small maps, no images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from nunatak.geometry.rotations import euler_from_matrices, random_rotations
from nunatak.io.atomic import write_json, write_npy
from nunatak.io.mrc import write_map
from nunatak.io.star import write_star_tables
from nunatak.runs.tensors import write_tensors

BOX, PIXEL_A = 16, 4.0


def component_maps(dimensions: int, box: int = BOX) -> np.ndarray:
    """(1 + q, box, box, box) a ball, and lumps on its sides that the latents fill."""
    line = np.arange(box) - box // 2
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    ball = np.exp(-(x**2 + y**2 + z**2) / 18.0)
    places = [(4, 0, 0), (0, 4, 0), (0, 0, 4), (-4, 0, 0)]
    lumps = [np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 4.0) for a, b, c in places]
    return np.stack([ball, *(0.4 / (k + 1) * lump for k, lump in enumerate(lumps[:dimensions]))]).astype("f4")


def write_run(folder: Path, latents: np.ndarray, covariances: np.ndarray | None, star: bool = True) -> Path:
    """Write a run whose particles have these latents."""
    folder.mkdir(parents=True, exist_ok=True)
    count, dimensions = latents.shape
    maps = component_maps(dimensions)
    metadata = {"pixel_size_A": repr(PIXEL_A), "particles": str(count)}
    write_tensors(folder / "model.safetensors", {"maps": torch.from_numpy(maps)}, metadata)
    write_npy(folder / "latents.npy", latents.astype(np.float32))
    if covariances is not None:
        write_npy(folder / "latents_covariance.npy", covariances.astype(np.float32))
    write_map(folder / "mean.mrc", maps[0], PIXEL_A)
    summary = {"outcome": "converged", "outcome_sentence": "Converged.", "warnings": [], "particles": count}
    write_json(folder / "summary.json", {**summary, "latent_dim": dimensions, "box_px": BOX})
    if star:
        write_particles(folder / "particles.star", count)
    return folder


def write_particles(path: Path, count: int) -> None:
    """A star file with poses, half-sets and the columns of a run; its images are nowhere."""
    generator = np.random.default_rng(3)
    angles = euler_from_matrices(random_rotations(count, torch.Generator().manual_seed(0))).numpy()
    rows = pd.DataFrame({"rlnImageName": [f"{k + 1:06d}@nowhere.mrcs" for k in range(count)]})
    rows["rlnOpticsGroup"] = 1
    rows["rlnDefocusU"] = generator.uniform(8000, 20000, count).round(1)
    rows["rlnDefocusV"] = rows["rlnDefocusU"]
    rows["rlnDefocusAngle"] = 0.0
    rows[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]] = angles.round(4)
    rows[["rlnOriginXAngst", "rlnOriginYAngst"]] = generator.normal(size=(count, 2)).round(4)
    rows["rlnRandomSubset"] = np.arange(count) % 2 + 1
    rows["rlnClassNumber"] = np.arange(count) % 3 + 1
    rows["nunatakPoseConfidence"] = generator.uniform(0, 1, count).round(4)
    rows["nunatakJunk"] = generator.uniform(0, 1, count).round(4)
    optics = {
        "rlnOpticsGroup": [1],
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.1],
        "rlnImagePixelSize": [PIXEL_A],
        "rlnImageSize": [BOX],
        "rlnImageDimensionality": [2],
    }
    write_star_tables(path, {"optics": pd.DataFrame(optics), "particles": rows})

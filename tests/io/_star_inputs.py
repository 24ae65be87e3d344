"""Small particle files for the tests of this room."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import starfile

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"

OPTICS = {
    "rlnOpticsGroup": [1],
    "rlnOpticsGroupName": ["grid1"],
    "rlnVoltage": [300.0],
    "rlnSphericalAberration": [2.7],
    "rlnAmplitudeContrast": [0.1],
    "rlnImagePixelSize": [2.0],
    "rlnImageSize": [8],
    "rlnImageDimensionality": [2],
}


def write_images(
    path: Path, count: int, box: int = 8, pixel_size_A: float = 2.0, seed: int = 0
) -> np.ndarray:
    """A stack of random images; returns them."""
    images = np.random.default_rng(seed).normal(size=(count, box, box)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(images)
        file.set_image_stack()
        file.voxel_size = pixel_size_A
    return images


def particle_columns(count: int, stack: str = "stack.mrcs") -> dict[str, list]:
    """Columns of a RELION 3.1 particle table with a CTF and poses."""
    generator = np.random.default_rng(1)
    angles = generator.uniform(5, 170, (count, 3)).round(4)
    return {
        "rlnImageName": [f"{i + 1:06d}@{stack}" for i in range(count)],
        "rlnMicrographName": [f"{i // 2:04d}" for i in range(count)],
        "rlnOpticsGroup": [1] * count,
        "rlnDefocusU": generator.uniform(8000, 20000, count).round(2).tolist(),
        "rlnDefocusV": generator.uniform(8000, 20000, count).round(2).tolist(),
        "rlnDefocusAngle": generator.uniform(-90, 90, count).round(2).tolist(),
        "rlnPhaseShift": [0.0] * count,
        "rlnAngleRot": angles[:, 0].tolist(),
        "rlnAngleTilt": angles[:, 1].tolist(),
        "rlnAnglePsi": angles[:, 2].tolist(),
        "rlnOriginXAngst": generator.normal(size=count).round(4).tolist(),
        "rlnOriginYAngst": generator.normal(size=count).round(4).tolist(),
        "rlnRandomSubset": [i % 2 + 1 for i in range(count)],
        "rlnCtfMaxResolution": [1.23456789e-7] * count,
    }


def write_star(path: Path, particles: dict, optics: dict | None = OPTICS) -> Path:
    """A star file, with an optics table unless that is None."""
    tables = {"particles": pd.DataFrame(particles)}
    if optics is not None:
        tables = {"optics": pd.DataFrame(optics), **tables}
    starfile.write(tables, path, float_format="%.12g")
    return path

"""Small particle sets for the tests of this room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import starfile
import torch

from nunatak.io.mrc import write_stack
from nunatak.optics.ctf import CtfParameters, evaluate_ctf
from nunatak.particles.dataset import MemoryImages, Particles

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


def write_particles(
    folder: Path, count: int = 6, box: int = 8, stacks: int = 2, images: np.ndarray | None = None
) -> Path:
    """A RELION 3.1 star whose rows take turns between stacks; returns the star's path."""
    folder.mkdir(parents=True, exist_ok=True)
    if images is None:
        images = np.random.default_rng(0).normal(size=(count, box, box)).astype(np.float32)
    for stack in range(stacks):
        write_stack(folder / f"s{stack}.mrcs", images[stack::stacks], 2.0)
    optics = {"rlnOpticsGroup": [1], "rlnVoltage": [300.0], "rlnSphericalAberration": [2.7]}
    optics |= {"rlnAmplitudeContrast": [0.1], "rlnImagePixelSize": [2.0], "rlnImageSize": [box]}
    rows = {"rlnImageName": [f"{i // stacks + 1}@s{i % stacks}.mrcs" for i in range(count)]}
    rows |= {"rlnOpticsGroup": [1] * count, "rlnDefocusU": np.linspace(8000, 9000, count)}
    rows |= {"rlnDefocusV": np.linspace(8000, 9000, count), "rlnDefocusAngle": [0.0] * count}
    tables = {"optics": pd.DataFrame(optics), "particles": pd.DataFrame(rows)}
    starfile.write(tables, folder / "p.star")
    return folder / "p.star"


def blobs(count: int, signal_to_noise: float, sign: int = 1, seed: int = 0, box: int = 48) -> Particles:
    """Particles of three blobs each, off centre, with CTF and white noise, in memory."""
    generator = np.random.default_rng(seed)
    pixel_size_A = 5.0
    column = {name: torch.full((count,), value) for name, value in _OPTICS.items()}
    defocus = torch.from_numpy(generator.uniform(10000, 25000, count)).float()
    optics = CtfParameters(defocus_u_A=defocus, defocus_v_A=defocus + 300, **column)
    axis = np.arange(box) - box // 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    centres = generator.normal(size=(count, 3, 2)) * box / 10
    clean = sum(
        np.exp(-((x - centres[:, i, 0, None, None]) ** 2 + (y - centres[:, i, 1, None, None]) ** 2) / 8)
        for i in range(3)
    )
    ky, kx = np.meshgrid(np.fft.fftfreq(box), np.fft.rfftfreq(box), indexing="ij")
    frequencies = torch.from_numpy(np.stack([kx, ky], -1).reshape(-1, 2) / pixel_size_A)
    ctf = evaluate_ctf(optics, frequencies).numpy().reshape(count, *kx.shape)
    images = np.fft.irfft2(np.fft.rfft2(clean) * ctf, s=(box, box))
    noise = generator.normal(size=images.shape) * images.std() / np.sqrt(signal_to_noise)
    group = torch.zeros(count, dtype=torch.int64)
    return Particles(MemoryImages(sign * (images + noise)), optics, group, (pixel_size_A,), (box,))


_OPTICS = {
    "astigmatism_angle_deg": 30.0,
    "voltage_kV": 300.0,
    "spherical_aberration_mm": 2.7,
    "amplitude_contrast": 0.1,
    "phase_shift_deg": 0.0,
}

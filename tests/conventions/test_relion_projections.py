"""RELION's own projections, read with our conventions: angles, shifts and contrast transfer agree with them.

The maps that these images were projected from are not at hand, so an image cannot be projected anew. But two
noise-free projections of one molecule share a *common line*: along R_i[2] x R_j[2] both transforms hold the
same line of the volume's transform. Each image so predicts a line of every other one, from the poses alone,
and wrong senses of rotation, signs of shifts or signs of defocus break the prediction at once.
"""

from __future__ import annotations

import math
import shutil
import subprocess
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
import starfile
import torch
from _blobs import molecule

from nunatak.core.fourier import half_plane, sample_images
from nunatak.geometry.rotations import euler_from_matrices, matrices_from_euler, random_rotations
from nunatak.optics.ctf import CtfParameters, evaluate_ctf
from nunatak.projection.operator import Projector

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "particles"
EULER = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no RELION projections at {SHARED}")
needs_relion = pytest.mark.skipif(
    shutil.which("relion_project") is None, reason="relion_project is not installed"
)


@dataclass(frozen=True)
class View:
    """One image with its rotation; `ctf` is None for images without contrast transfer."""

    image: np.ndarray
    rotation: np.ndarray
    ctf: CtfParameters | None = None
    pixel_size_A: float = 1.0

    def line(self, direction: np.ndarray, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Transform along a direction of the volume's frame, and the contrast transfer there."""
        box = self.image.shape[0]
        k = radii[:, None] * (self.rotation[:2] @ direction)
        x = np.arange(box) - box // 2
        left, right = (np.exp(-2j * np.pi * np.outer(k[:, a], x) / box) for a in (1, 0))
        values = np.einsum("ky,yx,kx->k", left, self.image, right) / box
        if self.ctf is None:
            return values, np.ones(len(k))
        return values, evaluate_ctf(self.ctf, torch.tensor(k / (box * self.pixel_size_A)))[0].numpy()


def read(name: str) -> tuple[np.ndarray, pd.DataFrame, pd.Series | None]:
    table = starfile.read(SHARED / f"{name}.star")
    particles = table["particles"] if isinstance(table, dict) else table
    optics = table["optics"].iloc[0] if isinstance(table, dict) else None
    with mrcfile.open(SHARED / f"{name}.mrcs", permissive=True) as stack:
        return np.array(stack.data, np.float64), particles, optics


def rotations_of(particles: pd.DataFrame) -> np.ndarray:
    return matrices_from_euler(torch.tensor(particles[EULER].to_numpy(np.float64))).numpy()


def centred(image: np.ndarray, shift_px: np.ndarray) -> np.ndarray:
    """The image moved by +shift, on the torus, which is how RELION displaced it."""
    box = image.shape[0]
    f = np.fft.fftfreq(box)
    phase = np.exp(-2j * np.pi * (f[:, None] * shift_px[1] + f[None, :] * shift_px[0]))
    return np.fft.ifft2(np.fft.fft2(image) * phase).real


def common_line_correlations(views: list[View], radius_px: int = 30) -> np.ndarray:
    """One correlation per pair; each side is multiplied by the other's contrast transfer."""
    found = []
    for first, second in combinations(views, 2):
        line = np.cross(first.rotation[2], second.rotation[2])
        if np.linalg.norm(line) < 0.05:
            continue
        line /= np.linalg.norm(line)
        (a, ca), (b, cb) = (view.line(line, np.arange(1.0, radius_px + 1)) for view in (first, second))
        a, b = a * cb, b * ca
        found.append(np.vdot(a, b).real / math.sqrt(np.vdot(a, a).real * np.vdot(b, b).real))
    return np.array(found)


@needs_shared
def test_ribosome_projections() -> None:
    images, particles, _ = read("relion_projections/rln_proj_64")
    views = [View(image, rotation) for image, rotation in zip(images, rotations_of(particles), strict=True)]
    assert common_line_correlations(views).min() > 0.999
    transposed = [View(view.image, view.rotation.T) for view in views]
    assert common_line_correlations(transposed).min() < 0.9


@needs_shared
def test_shifted_ribosome_projections() -> None:
    images, particles, _ = read("relion_projections/rln_proj_64_shifted")
    shifts_px = particles[["rlnOriginX", "rlnOriginY"]].to_numpy(np.float64)
    rotations = rotations_of(particles)
    for sign, holds in ((1, True), (-1, False)):
        moved = [centred(image, sign * shift) for image, shift in zip(images, shifts_px, strict=True)]
        views = [View(image, rotation) for image, rotation in zip(moved, rotations, strict=True)]
        assert (common_line_correlations(views).min() > 0.999) == holds


@needs_shared
def test_odd_box_ribosome_projections() -> None:
    """RELION 3.1 projects an odd box about the pixel box // 2 + 1; moved back by one, the lines agree."""
    images, particles, _ = read("relion_projections/rln_proj_65")
    moved = [centred(image, np.array([-1.0, -1.0])) for image in images]
    views = [View(image, rotation) for image, rotation in zip(moved, rotations_of(particles), strict=True)]
    assert common_line_correlations(views).min() > 0.999


@needs_shared
@pytest.mark.parametrize(("name", "worst"), [("_pfac2", 0.995), ("_pfac3", 0.995), ("", 0.95)])
def test_galactosidase_projections_with_shifts_and_ctf(name: str, worst: float) -> None:
    """The set without suffix was projected at padding 1, whose interpolation error is RELION's, not ours."""
    images, particles, optics = read(f"simplecryoem/relion_proj_batch{name}")
    pixel_size_A = float(optics["rlnImagePixelSize"])
    shifts_px = particles[["rlnOriginXAngst", "rlnOriginYAngst"]].to_numpy(np.float64) / pixel_size_A
    views = []
    for i, rotation in enumerate(rotations_of(particles)):
        row = particles.iloc[i]
        values = [row.rlnDefocusU, row.rlnDefocusV, row.rlnDefocusAngle, optics.rlnVoltage]
        values += [optics.rlnSphericalAberration, optics.rlnAmplitudeContrast, row.rlnPhaseShift]
        ctf = CtfParameters(*(torch.tensor([float(value)]) for value in values))
        views.append(View(centred(images[i], shifts_px[i]), rotation, ctf, pixel_size_A))
    correlations = common_line_correlations(views)
    assert len(correlations) > 250
    assert correlations.min() > worst
    assert np.median(correlations) > 0.99


@pytest.mark.peers
@needs_relion
def test_relion_project_makes_the_images_that_we_make(tmp_path: Path) -> None:
    """Known blobs through `relion_project`: every image, with shift and CTF, is reproduced from its star."""
    box, pixel_size_A, count = 48, 4.0, 12
    rotations = random_rotations(count, torch.Generator().manual_seed(0))
    shifts_A = torch.rand(count, 2, generator=torch.Generator().manual_seed(1)) * 16 - 8
    defocus_A = torch.linspace(8000, 14000, count)
    euler = euler_from_matrices(rotations).numpy()
    optics = pd.DataFrame(
        {
            "rlnOpticsGroup": [1],
            "rlnOpticsGroupName": ["group1"],
            "rlnVoltage": [300.0],
            "rlnSphericalAberration": [2.7],
            "rlnAmplitudeContrast": [0.1],
            "rlnImagePixelSize": [pixel_size_A],
            "rlnImageSize": [box],
            "rlnImageDimensionality": [2],
        }
    )
    particles = pd.DataFrame(dict(zip(EULER, euler.T, strict=True))).assign(
        rlnOriginXAngst=shifts_A[:, 0].numpy(),
        rlnOriginYAngst=shifts_A[:, 1].numpy(),
        rlnDefocusU=defocus_A.numpy(),
        rlnDefocusV=defocus_A.numpy() - 1500,
        rlnDefocusAngle=35.0,
        rlnPhaseShift=0.0,
        rlnOpticsGroup=1,
        rlnImageName=[f"{i + 1:06d}@in.mrcs" for i in range(count)],
    )
    starfile.write({"optics": optics, "particles": particles}, tmp_path / "in.star")
    volume = molecule().map(box).float()
    with mrcfile.new(tmp_path / "map.mrc") as file:
        file.set_data(volume.numpy())
        file.voxel_size = pixel_size_A
    command = ["relion_project", "--i", "map.mrc", "--ang", "in.star", "--o", "out", "--ctf"]
    subprocess.run([*command, "--angpix", str(pixel_size_A)], cwd=tmp_path, check=True, capture_output=True)
    with mrcfile.open(tmp_path / "out.mrcs", permissive=True) as file:
        theirs = torch.tensor(np.array(file.data, np.float32))

    plane = half_plane(box, 20)
    s = plane.frequencies / (box * pixel_size_A)
    one = torch.ones(count)
    ctf = CtfParameters(defocus_A, defocus_A - 1500, 35 * one, 300 * one, 2.7 * one, 0.1 * one, 0 * one)
    slices = Projector(plane.frequencies, 20, box).forward(volume[None], rotations)[..., 0]
    ours = evaluate_ctf(ctf, s) * slices * torch.exp(2j * math.pi * (shifts_A @ s.T))
    samples = sample_images(theirs, plane)
    correlation = (ours * samples.conj()).sum(1).real / (ours.norm(dim=1) * samples.norm(dim=1))
    assert correlation.min() > 0.99, correlation

"""Structures to simulate from: atomic models, maps, and the density of atoms on a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import gemmi
import numpy as np
import torch
from numba import njit
from torch import Tensor

from nunatak.core.errors import InputError, require

MODEL_SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif")
MAP_SUFFIXES = (".mrc", ".map", ".ccp4")
GAUSSIAN_REACH = 4.5
"""Atoms are cut off at this many standard deviations (a relative 4e-5)."""


@dataclass(frozen=True)
class AtomicModel:
    """Point masses with the names that select them.

    Attributes
    ----------
    positions_A : (n, 3) float64
        x, y, z.
    weights : (n,) float64
        Scattering power, by atomic number.
    chains : (n,) str
    residues : (n,) int
    """

    positions_A: np.ndarray
    weights: np.ndarray
    chains: np.ndarray
    residues: np.ndarray

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def centre_of_mass_A(self) -> np.ndarray:
        """(3,) x, y, z."""
        return self.weights @ self.positions_A / self.weights.sum()

    @property
    def radius_A(self) -> float:
        """Distance of the farthest atom from the origin."""
        return float(np.linalg.norm(self.positions_A, axis=1).max())

    @property
    def chain_names(self) -> list[str]:
        """Names of the chains in the order in which they appear."""
        return list(dict.fromkeys(self.chains.tolist()))

    def centred(self) -> AtomicModel:
        """The same model with its centre of mass at the origin."""
        return self.moved(self.positions_A - self.centre_of_mass_A)

    def moved(self, positions_A: np.ndarray) -> AtomicModel:
        """The same atoms elsewhere."""
        return replace(self, positions_A=positions_A)

    def subset(self, keep: np.ndarray) -> AtomicModel:
        """The atoms of a mask."""
        return AtomicModel(self.positions_A[keep], self.weights[keep], self.chains[keep], self.residues[keep])


def joined(models: list[AtomicModel]) -> AtomicModel:
    """All atoms of several models, each in its own coordinates."""
    fields = ("positions_A", "weights", "chains", "residues")
    return AtomicModel(*(np.concatenate([getattr(model, name) for model in models]) for name in fields))


def is_map(path: Path) -> bool:
    """Whether the name is that of a map, gzipped or not."""
    return _suffix(path) in MAP_SUFFIXES


def _suffix(path: Path) -> str:
    """The suffix in small letters, that before .gz where there is one."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def read_atomic_model(path: Path) -> AtomicModel:
    """The first model of a PDB or mmCIF file, gzipped or not, without hydrogens and water.

    Raises
    ------
    InputError
        When the file is missing, of another kind, unreadable, or holds no atoms.
    """
    require(
        _suffix(path) in MODEL_SUFFIXES,
        f"A structure should be a .pdb, .cif (also .gz), .mrc or .map file, but {path} is none of them; "
        "convert it or rename it.",
    )
    require(path.is_file(), f"The structure {path} should be a file, but there is none; check the path.")
    try:
        structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"The structure {path} should be a PDB or mmCIF file, but gemmi reads: {error}; check the file."
        ) from None
    structure.setup_entities()
    structure.remove_waters()
    structure.remove_hydrogens()
    atoms = list(structure[0].all()) if len(structure) else []
    require(len(atoms) > 0, f"The structure {path} should hold atoms, but holds none; take another file.")
    return AtomicModel(
        positions_A=np.array([row.atom.pos.tolist() for row in atoms]),
        # Unknown elements (0) count as carbon.
        weights=np.array([row.atom.element.atomic_number or 6 for row in atoms], float)
        * np.array([row.atom.occ or 1.0 for row in atoms]),
        chains=np.array([row.chain.name for row in atoms]),
        residues=np.array([row.residue.seqid.num for row in atoms]),
    )


def gaussian_width_A(resolution_A: float) -> float:
    """Standard deviation of an atom at a resolution: its transform falls to 1/e at 1 / resolution.

    sigma = resolution / (pi sqrt 2), the relation of Chimera's molmap.
    """
    return resolution_A / (math.pi * math.sqrt(2))


def density(model: AtomicModel, box_px: int, pixel_size_A: float, resolution_A: float) -> Tensor:
    """Sum of one Gaussian per atom.

    Parameters
    ----------
    model : AtomicModel
        Atoms about the origin, which falls on voxel box // 2; parts outside the box are lost.
    box_px, pixel_size_A
        The grid.
    resolution_A : float
        See gaussian_width_A.

    Returns
    -------
    (box, box, box) float32
        zyx; an atom inside the box adds its weight to the sum.
    """
    grid = np.zeros((box_px, box_px, box_px), np.float32)
    positions_px = model.positions_A / pixel_size_A + box_px // 2
    _add_gaussians(grid, positions_px, model.weights, gaussian_width_A(resolution_A) / pixel_size_A)
    return torch.from_numpy(grid)


@njit(cache=True)
def _add_gaussians(grid, positions_px, weights, width_px):
    """Add isotropic Gaussians, separable in the three axes, to a zyx grid."""
    box = grid.shape[0]
    reach = math.ceil(GAUSSIAN_REACH * width_px)
    count = 2 * reach + 1
    profile = np.zeros((3, count))
    start = np.zeros(3, np.int64)
    for atom in range(len(weights)):
        for axis in range(3):
            start[axis] = round(positions_px[atom, axis]) - reach
            for i in range(count):
                offset = (start[axis] + i - positions_px[atom, axis]) / width_px
                profile[axis, i] = math.exp(-0.5 * offset * offset)
        # Dividing by the sum on the grid, not by the integral, keeps the mass of narrow atoms exact.
        scale = weights[atom] / (profile[0].sum() * profile[1].sum() * profile[2].sum())
        for k in range(max(0, -start[2]), min(count, box - start[2])):
            for j in range(max(0, -start[1]), min(count, box - start[1])):
                factor = scale * profile[2, k] * profile[1, j]
                for i in range(max(0, -start[0]), min(count, box - start[0])):
                    grid[start[2] + k, start[1] + j, start[0] + i] += factor * profile[0, i]


def resample_map(volume: Tensor, pixel_size_in_A: float, box_px: int, pixel_size_A: float) -> Tensor:
    """A map on another grid, by its exact Fourier sums at the new grid's frequencies.

    Frequencies beyond either Nyquist limit are zero; what lies outside the new box is cut off first. The
    origin goes from voxel n // 2 to voxel box // 2, and the sum of the voxels stays.

    Returns
    -------
    (box, box, box) float32
    """
    size = volume.shape[0]
    reach = min(size // 2, int(box_px * pixel_size_A / pixel_size_in_A / 2))
    begin, end = size // 2 - reach, min(size, size // 2 + reach + 1)
    cropped = volume[begin:end, begin:end, begin:end].to(torch.complex64)
    x_A = (torch.arange(begin, end, dtype=torch.float64) - size // 2) * pixel_size_in_A
    k = torch.fft.fftfreq(box_px, pixel_size_A, dtype=torch.float64)
    inside = k.abs() <= 0.5 / max(pixel_size_in_A, pixel_size_A)
    phase = torch.polar(inside.double()[:, None], -2 * math.pi * k[:, None] * x_A).to(torch.complex64)
    for _ in range(3):  # each turn transforms the last axis and moves it to the front
        cropped = torch.tensordot(phase, cropped, dims=([1], [2]))
    return torch.fft.fftshift(torch.fft.ifftn(cropped).real)

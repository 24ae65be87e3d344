"""The known answer of a simulated particle set: poses, states, volumes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nunatak.core.errors import InputError, require
from nunatak.geometry.poses import Poses

ARRAYS_FILE = "truth.npz"
VOLUMES_FILE = "volumes.npy"


@dataclass(frozen=True)
class Truth:
    """What every particle of a simulated set really is.

    An image is contrast * CTF * shift * projection of volumes[label], plus noise of unit variance; a junk
    image shows something else, and its pose and state mean nothing.

    Attributes
    ----------
    rotations : (n, 3, 3) float32
        Rows are the image axes in the volume frame.
    shifts_A : (n, 2) float32
        RELION's rlnOriginX/YAngst.
    labels : (n,) int64
        Which state each particle is in.
    coordinates : (states,) float32
        Reaction coordinate of each state (-1 to 1 along a motion), or its number for discrete states.
    junk : (n,) bool
    contrast : (n,) float32
        Factor of the particle's signal.
    volumes : (states, box, box, box) float32
        The true maps, zyx, on the particles' pixel grid.
    pixel_size_A : float
    """

    rotations: Tensor
    shifts_A: Tensor
    labels: Tensor
    coordinates: Tensor
    junk: Tensor
    contrast: Tensor
    volumes: Tensor
    pixel_size_A: float

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def box_px(self) -> int:
        """Box of the true maps."""
        return self.volumes.shape[-1]

    @property
    def poses(self) -> Poses:
        """The true poses."""
        return Poses(self.rotations, self.shifts_A)

    @property
    def particle_coordinates(self) -> Tensor:
        """(n,) reaction coordinate of each particle."""
        return self.coordinates[self.labels]

    @property
    def is_continuous(self) -> bool:
        """True when the states lie along one motion; False for discrete states, numbered 0, 1, 2..."""
        return bool((torch.diff(self.coordinates) < 0.99).any())

    def mean_volume(self) -> Tensor:
        """(box, box, box) average of the true maps over the particles."""
        weights = torch.bincount(self.labels, minlength=len(self.volumes)).float() / len(self)
        return torch.tensordot(weights, self.volumes, dims=1)


def read_truth(folder: str | Path) -> Truth:
    """Read truth.npz and volumes.npy of a simulation's folder.

    Raises
    ------
    InputError
        When a file or one of its arrays is missing, or the two files do not belong together.
    """
    folder = Path(folder)
    arrays = _load(folder / ARRAYS_FILE)
    volumes = torch.from_numpy(np.array(_load(folder / VOLUMES_FILE), np.float32))
    names = ("R", "shift_A", "label", "t", "apix")
    missing = [name for name in names if name not in arrays]
    require(
        not missing,
        f"The truth {folder / ARRAYS_FILE} should hold the arrays {', '.join(names)}, but lacks "
        f"{', '.join(missing)}; point to a folder that 'nunatak simulate' wrote.",
    )
    count = len(arrays["R"])
    truth = Truth(
        rotations=torch.from_numpy(arrays["R"]).float(),
        shifts_A=torch.from_numpy(arrays["shift_A"]).float(),
        labels=torch.from_numpy(arrays["label"]).long(),
        coordinates=torch.from_numpy(arrays["t"]).float(),
        junk=torch.from_numpy(arrays["junk"]) if "junk" in arrays else torch.zeros(count, dtype=torch.bool),
        contrast=torch.from_numpy(arrays["contrast"]).float() if "contrast" in arrays else torch.ones(count),
        volumes=volumes,
        pixel_size_A=float(arrays["apix"]),
    )
    require(
        len(truth.coordinates) == len(volumes) > int(truth.labels.max()),
        f"The truth in {folder} should have one volume per state, but has {len(volumes)} volumes, "
        f"{len(truth.coordinates)} coordinates and labels to {int(truth.labels.max())}; simulate it again.",
    )
    return truth


def save_truth(folder: str | Path, truth: Truth) -> None:
    """Write truth.npz and volumes.npy into an existing folder; the inverse of read_truth."""
    folder = Path(folder)
    np.savez(
        folder / ARRAYS_FILE,
        R=truth.rotations.numpy(),
        shift_A=truth.shifts_A.numpy(),
        label=truth.labels.numpy(),
        t=truth.coordinates.numpy(),
        junk=truth.junk.numpy(),
        contrast=truth.contrast.numpy(),
        apix=truth.pixel_size_A,
    )
    np.save(folder / VOLUMES_FILE, truth.volumes.numpy())


def _load(path: Path):
    """An .npy array, or the arrays of an .npz as a dictionary."""
    try:
        loaded = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(
            f"A truth folder should hold {path.name}, but {path} does not exist; "
            "point to a folder that 'nunatak simulate' wrote."
        ) from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"The truth file {path} should be a numpy file, but cannot be read ({error}); simulate it again."
        ) from None
    return (
        {name: loaded[name] for name in loaded.files} if isinstance(loaded, np.lib.npyio.NpzFile) else loaded
    )

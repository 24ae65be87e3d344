"""Particles as the engine sees them: images behind a reader, optics, and the rows of their file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from nunatak.geometry.poses import Poses
from nunatak.io.particle_file import ParticleFile
from nunatak.optics.ctf import CtfParameters


class ImageSource(Protocol):
    """Anything that can hand out raw particle images in batches."""

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> np.ndarray:
        """(k, box, box) float32 images of the given rows, in that order; the rows share one box."""
        ...

    def signature(self) -> str:
        """A text that is another one when the images are others."""
        ...


@dataclass(frozen=True)
class Particles:
    """A particle set: immutable, lazy, in the input's order.

    Attributes
    ----------
    images : ImageSource
    optics : CtfParameters
        One value per particle.
    optics_group : (n,) int64
        Index into the group fields below.
    group_pixel_size_A, group_box_px : tuple
        Pixel size and box of each optics group.
    poses : Poses or None
        When the file has them.
    random_subset : (n,) int64 or None
        1 or 2, when the file has half-sets.
    has_ctf : bool
        False when the file has no CTF; the optics are then such that the CTF is 1 everywhere.
    table : ParticleFile or None
        The file as read, so that writing back keeps every column (nunatak.io).
    warnings : tuple of str
        What reading had to assume, one sentence each.
    """

    images: ImageSource
    optics: CtfParameters
    optics_group: Tensor
    group_pixel_size_A: tuple[float, ...]
    group_box_px: tuple[int, ...]
    poses: Poses | None = None
    random_subset: Tensor | None = None
    has_ctf: bool = True
    table: ParticleFile | None = None
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.optics_group)

    @property
    def box_px(self) -> int:
        """Box of the common grid: that of the first optics group."""
        return self.group_box_px[0]

    @property
    def pixel_size_A(self) -> float:
        """Pixel size of the common grid: that of the first optics group."""
        return self.group_pixel_size_A[0]

    def with_poses(self, poses: Poses) -> Particles:
        """The same particles with other poses."""
        return replace(self, poses=poses)

    def subset(self, rows: np.ndarray | Tensor) -> Particles:
        """The given rows, in the given order, with their rows of the table; optics groups stay as they are.

        Parameters
        ----------
        rows : (k,) int
        """
        rows = np.asarray(rows, np.int64)
        index = torch.tensor(rows)
        return replace(
            self,
            images=ImageSubset(self.images, rows),
            optics=self.optics[index],
            optics_group=self.optics_group[index],
            poses=None if self.poses is None else self.poses[index],
            random_subset=None if self.random_subset is None else self.random_subset[index],
            table=None if self.table is None else self.table.subset(rows),
        )


class ImageSubset:
    """Some images of another source, in another order."""

    def __init__(self, images: ImageSource, rows: np.ndarray) -> None:
        self._images = images
        self._rows = np.asarray(rows, np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """(k, box, box) float32 images of the given rows."""
        return self._images.read(self._rows[np.asarray(rows)])

    def signature(self) -> str:
        """Of the other source and the rows."""
        return hashlib.sha256(self._images.signature().encode() + self._rows.tobytes()).hexdigest()


class MemoryImages:
    """Images already in memory, (n, box, box) float32."""

    def __init__(self, images: np.ndarray | Tensor) -> None:
        self._images = np.asarray(images.numpy() if isinstance(images, torch.Tensor) else images, np.float32)

    def __len__(self) -> int:
        return len(self._images)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """(k, box, box) float32 images of the given rows."""
        return self._images[rows]

    def signature(self) -> str:
        """Of the pixels."""
        return hashlib.sha256(np.ascontiguousarray(self._images).data).hexdigest()

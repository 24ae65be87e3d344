"""Maps for the three-dimensional view: mean and components in memory, any V(z) at once, as MRC bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import mrcfile
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from nunatak.core.errors import InputError, require
from nunatak.export.surface import surface_level
from nunatak.io.mrc import read_map
from nunatak.runs.progress import CheckpointHead
from nunatak.runs.volumes import LatentVolumes
from nunatak.volumes.maps import change_box

LARGEST_BOX_PX = 128
"""Shown maps are cut off at this box's Nyquist frequency: no screen shows more, and a surface stays quick."""


@dataclass(frozen=True, eq=False)
class MapBasis:
    """V(z) = maps[0] + sum_k c_k(z) maps[k] on the box that is shown.

    Attributes
    ----------
    maps : (1 + k, d, d, d) float32
    pixel_size_A : float
    level : float
        Where a surface shows the mean map.
    radius_A : float
        Of that surface, about the origin.
    latent_dim : int
    coefficients : function of a (q,) position, or None
        The c_k; None where they are the position itself.
    """

    maps: NDArray[np.float32]
    pixel_size_A: float
    level: float
    radius_A: float
    latent_dim: int
    coefficients: Callable[[NDArray], NDArray[np.float32]] | None = None

    def at(self, latent: NDArray) -> NDArray[np.float32]:
        """(d, d, d) map at a (q,) position.

        Raises
        ------
        InputError
            The position has another number of coordinates.
        """
        q = self.latent_dim
        require(len(latent) == q, f"A latent position of this run has {q} numbers; got {len(latent)}.")
        mixing = np.asarray(latent, np.float32) if self.coefficients is None else self.coefficients(latent)
        return self.maps[0] + np.tensordot(mixing, self.maps[1:], 1)


def finished_basis(folder: Path) -> MapBasis:
    """Of a finished run.

    Raises
    ------
    InputError
        The run is not finished, or damaged.
    """
    if (folder / "model.safetensors").exists():
        volumes = LatentVolumes(folder)
        linear = basis(volumes.maps, volumes.pixel_size_A)
        if volumes.curved is None:
            return linear
        maps = change_box(torch.from_numpy(volumes.curved.maps), linear.maps.shape[-1]).numpy()
        return replace(linear, maps=maps, coefficients=volumes.curved.coefficients)
    density, pixel_size_A, _ = read_map(folder / "mean.mrc")
    return basis(density[None], pixel_size_A)


def running_basis(head: CheckpointHead, extent_A: float | None) -> MapBasis | None:
    """Of a run that goes on: its model, or the best of its random starts; None where it has neither yet.

    Raises
    ------
    InputError
        The checkpoint was replaced while it was read, or is damaged.
    """
    try:
        with safe_open(head.tensors, framework="numpy") as stored:
            names = set(stored.keys())
            if "state.maps" in names:
                maps = stored.get_tensor("state.maps")
            elif "state.model.maps" in names:
                maps = stored.get_tensor("state.model.maps").mean(0)
            elif (best := _best_start(head)) in names:
                maps = stored.get_tensor(best)
            else:
                return None
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError("The checkpoint was just being replaced: ask again.") from error
    # Without a known pixel size one of 1 A shows the shape.
    return basis(maps, 1.0 if extent_A is None else extent_A / maps.shape[-1])


def _best_start(head: CheckpointHead) -> str:
    """Name of the map of the start with the highest evidence."""
    starts = head.tree.get("starts", {}).get("tuple", [])
    evidence = [start["fields"]["log_evidence"]["value"] for start in starts]
    return f"state.starts.{int(np.argmax(evidence))}.maps" if evidence else ""


def basis(maps: NDArray, pixel_size_A: float) -> MapBasis:
    """Mean and components made ready to be shown."""
    box = maps.shape[-1]
    if box > LARGEST_BOX_PX:
        maps = change_box(torch.from_numpy(np.asarray(maps, np.float32)), LARGEST_BOX_PX).numpy()
        pixel_size_A *= box / LARGEST_BOX_PX
    maps = np.ascontiguousarray(maps, np.float32)
    level = surface_level(maps[0])
    radius_A = surface_radius_A(maps[0], level, pixel_size_A)
    return MapBasis(maps, pixel_size_A, level, radius_A, len(maps) - 1)


def surface_radius_A(density: NDArray, level: float, pixel_size_A: float) -> float:
    """Radius of the sphere about the origin that holds 99.5 % of a map's voxels above a level."""
    inside = np.argwhere(density > level) - len(density) // 2
    if not len(inside):
        return len(density) / 2 * pixel_size_A
    return float(np.percentile(np.linalg.norm(inside, axis=1), 99.5) + 1) * pixel_size_A


@dataclass(frozen=True, eq=False)
class ShownMap:
    """A map on its way to the browser.

    Attributes
    ----------
    content : bytes
        Of an MRC file.
    level : float
        Contour that shows it.
    radius_A : float
        Of its surface about the origin.
    """

    content: bytes
    level: float
    radius_A: float


def shown(density: NDArray, pixel_size_A: float) -> ShownMap:
    """A single (d, d, d) map made ready to be shown."""
    one = basis(density[None], pixel_size_A)
    return ShownMap(mrc_bytes(one.maps[0], one.pixel_size_A), one.level, one.radius_A)


def mrc_bytes(density: NDArray, pixel_size_A: float) -> bytes:
    """A (d, d, d) zyx map as the content of an MRC file, its centre at the coordinates' origin."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.mrcinterpreter.MrcInterpreter() as file:
            file._iostream = buffer
            file._create_default_attributes()
            file.set_data(np.ascontiguousarray(density, np.float32))
            file.set_volume()
            file.voxel_size = pixel_size_A
            half_A = -(density.shape[0] // 2) * pixel_size_A
            file.header.origin = (half_A, half_A, half_A)
            file.flush()
            content = buffer.getvalue()
    return content

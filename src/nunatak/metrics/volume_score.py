"""A map of the run against the true map, once it is placed in the truth's frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from nunatak.metrics.fsc import area_under_fsc, first_shell_below, fourier_shell_correlation
from nunatak.metrics.pose_error import FrameAlignment


@dataclass(frozen=True)
class MapPlacement:
    """Where the run's maps lie with respect to the truth's: truth(x) = map(hand A^T (x + origin)).

    Attributes
    ----------
    rotation : (3, 3) float64
        A of FrameAlignment, on (x, y, z).
    hand : int
    origin_px : (3,) float64
        (x, y, z) in voxels.
    """

    rotation: NDArray[np.float64]
    hand: int
    origin_px: NDArray[np.float64]


@dataclass(frozen=True)
class MapScore:
    """Agreement of a placed map with the true one: first resolution below FSC 0.5, area under the FSC."""

    fsc05_A: float
    fsc_auc: float


def placement(alignment: FrameAlignment, origin_A: NDArray, pixel_size_A: float) -> MapPlacement:
    """The placement that the poses imply; nothing is fitted to the maps themselves."""
    return MapPlacement(alignment.rotation, alignment.hand, np.asarray(origin_A) / pixel_size_A)


def place_in_truth_frame(volume: NDArray, where: MapPlacement) -> NDArray:
    """Resample a (d, d, d) zyx map into the truth's frame with cubic splines."""
    matrix = where.hand * where.rotation.T
    # Array axes are z, y, x and the rotation acts on (x, y, z): both its axes turn round.
    matrix, origin = matrix[::-1, ::-1], where.origin_px[::-1]
    centre = np.full(3, volume.shape[0] // 2)
    return affine_transform(volume, matrix, offset=centre - matrix @ centre + matrix @ origin, order=3)


def score_map(volume: NDArray, true_volume: NDArray, where: MapPlacement, pixel_size_A: float) -> MapScore:
    """Compare one (d, d, d) map with the truth's, both on one pixel grid.

    Raises
    ------
    InputError
        When the boxes differ.
    """
    curve = fourier_shell_correlation(place_in_truth_frame(volume, where), true_volume)
    extent_A = pixel_size_A * len(true_volume)
    return MapScore(float(extent_A / first_shell_below(curve)), area_under_fsc(curve))

"""Two runs on the same particles against each other: neither is the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nunatak.metrics.pose_error import FrameAlignment, align_frames, fit_origin_A, shift_error_A


@dataclass(frozen=True, eq=False)
class PoseAgreement:
    """The second run's poses in the first one's frame.

    Attributes
    ----------
    alignment : FrameAlignment
        With the angle left per particle.
    origin_A : (3,) float64
    shift_difference_A : (n,) float64
    """

    alignment: FrameAlignment
    origin_A: NDArray[np.float64]
    shift_difference_A: NDArray[np.float64]


def pose_agreement(rotations: tuple[NDArray, NDArray], shifts_A: tuple[NDArray, NDArray]) -> PoseAgreement:
    """Find frame, hand and origin that carry the second run's poses over to the first one's.

    Parameters
    ----------
    rotations : two (n, 3, 3)
    shifts_A : two (n, 2)
        Row by row of the same particles.
    """
    alignment = align_frames(rotations[1], rotations[0])
    near = alignment.error_deg <= np.median(alignment.error_deg)
    origin = fit_origin_A(shifts_A[1][near], shifts_A[0][near], rotations[0][near])
    return PoseAgreement(alignment, origin, shift_error_A(shifts_A[1], shifts_A[0], rotations[0], origin))


def canonical_correlations(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """(min(p, q),) correlations of the best-matching directions of two latents, largest first.

    Latents of two runs differ by any linear map; canonical correlations (Hotelling 1936, Biometrika 28,
    321) do not see it: singular values of the product of the two whitened coordinates.

    Parameters
    ----------
    first : (n, p)
    second : (n, q)
    """
    if not first.shape[1] or not second.shape[1]:
        return np.zeros(0)
    values = np.linalg.svd(_whitened(first).T @ _whitened(second), compute_uv=False)
    return np.clip(values, 0.0, 1.0)


def _whitened(latents: NDArray) -> NDArray[np.float64]:
    """(n, r) orthonormal columns that span the centred coordinates."""
    centred = np.asarray(latents, np.float64) - np.mean(latents, axis=0, dtype=np.float64)
    u, scale, _ = np.linalg.svd(centred, full_matrices=False)
    return u[:, scale > 1e-9 * max(scale[0], 1e-300)]

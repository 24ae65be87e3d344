"""Pose error against the truth, after removing what no data can tell: the frame, the hand and the origin.

An ab initio map sits in a frame of its own: the run's rotations R' and the true ones R obey R' ~ R A with
one rotation A for all particles, or FLIP R' ~ R A when the map has the other hand. A is found robustly, so
that a minority of wrong poses does not move it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FLIP = np.diag([-1.0, -1.0, 1.0])
"""Image axes of the mirrored map's views: both in-plane axes change sign."""

MEDOID_CANDIDATES = 300
MEDOID_WITNESSES = 3000
TRIMMED_ITERATIONS = 10
SHIFT_ITERATIONS = 5
SHIFT_KEPT_QUANTILE = 0.8


@dataclass(frozen=True)
class FrameAlignment:
    """The run's frame with respect to the truth's.

    Attributes
    ----------
    hand : int
        +1, or -1 when the run's map is the mirror image.
    rotation : (3, 3) float64
        A of the module's text: the run's rotation, hand applied, is the true rotation times A.
    error_deg : (n,) float64
        What is left per particle.
    """

    hand: int
    rotation: NDArray[np.float64]
    error_deg: NDArray[np.float64]


def align_frames(rotations: NDArray, true_rotations: NDArray, used: NDArray | None = None) -> FrameAlignment:
    """Find the hand and the one rotation that carry the true frame into the run's.

    Parameters
    ----------
    rotations, true_rotations : (n, 3, 3)
        Rows are the image axes in the volume frame.
    used : (n,) bool
        Particles that decide; all by default. Errors are returned for every particle.
    """
    used = np.ones(len(rotations), bool) if used is None else used
    best: tuple[float, FrameAlignment] | None = None
    for hand in (1, -1):
        relative = relative_rotations(rotations, true_rotations, hand)
        common = common_rotation(relative[used])
        error_deg = angles_to(common, relative)
        median = float(np.median(error_deg[used]))
        if best is None or median < best[0]:
            best = median, FrameAlignment(hand, common, error_deg)
    return best[1]  # type: ignore[index]


def within_state_error_deg(
    rotations: NDArray, true_rotations: NDArray, states: NDArray, hand: int | None
) -> NDArray[np.float64]:
    """(n,) degrees left when every state gets an alignment of its own, in the order of the input.

    States may sit in frames of their own (a swinging arm turns the average molecule); what remains here
    is error that no choice of frames explains.

    Parameters
    ----------
    states : (n,) int
    hand : int or None
        +1 or -1 for all states; None: of each state the one that fits better, as images of molecules that
        share nothing leave the hand of each free.
    """
    error_deg = np.full(len(rotations), np.inf)
    for state in np.unique(states):
        mine = states == state
        for side in (1, -1) if hand is None else (hand,):
            relative = relative_rotations(rotations[mine], true_rotations[mine], side)
            found = angles_to(common_rotation(relative), relative)
            error_deg[mine] = min(error_deg[mine], found, key=np.median)
    return error_deg


def relative_rotations(rotations: NDArray, true_rotations: NDArray, hand: int) -> NDArray[np.float64]:
    """(n, 3, 3) rotations A_i = R_i^T R'_i that would be equal if all poses were right."""
    seen = np.asarray(rotations, np.float64)
    seen = seen if hand == 1 else FLIP @ seen
    return np.swapaxes(np.asarray(true_rotations, np.float64), 1, 2) @ seen


def common_rotation(relative: NDArray) -> NDArray[np.float64]:
    """Robust mean of (n, 3, 3) rotations: a medoid, then chordal means of the nearer half.

    The candidates are evenly spaced rows, so the result does not depend on chance.
    """
    candidates, witnesses = spread(relative, MEDOID_CANDIDATES), spread(relative, MEDOID_WITNESSES)
    # trace(A^T B) is a dot product of the nine entries; the largest median trace is the smallest angle.
    traces = candidates.reshape(-1, 9) @ witnesses.reshape(-1, 9).T
    mean = candidates[np.argmax(np.median(traces, axis=1))]
    for _ in range(TRIMMED_ITERATIONS):
        distance = angles_to(mean, relative)
        mean = nearest_rotation(relative[distance <= np.median(distance)].mean(0))
    return mean


def angles_to(rotation: NDArray, rotations: NDArray) -> NDArray[np.float64]:
    """(n,) angles in degrees between one rotation and many."""
    # The chord keeps its digits at small angles, where the trace loses them.
    chord = np.linalg.norm((rotations - rotation).reshape(-1, 9), axis=1) / np.sqrt(8.0)
    return np.degrees(2 * np.arcsin(np.minimum(chord, 1.0)))


def fit_origin_A(shifts_A: NDArray, true_shifts_A: NDArray, true_rotations: NDArray) -> NDArray[np.float64]:
    """(3,) the run map's origin in the truth's frame, from the shifts that it explains.

    A map moved by o needs shifts changed by (R o)_xy. Least squares, then again on the 80 % of components
    that fit best, so that wrong poses do not pull.
    """
    design = np.asarray(true_rotations, np.float64)[:, :2, :].reshape(-1, 3)
    moved = np.asarray(shifts_A - true_shifts_A, np.float64).reshape(-1)
    origin = np.linalg.lstsq(design, moved, rcond=None)[0]
    for _ in range(SHIFT_ITERATIONS):
        residual = np.abs(moved - design @ origin)
        kept = residual <= np.quantile(residual, SHIFT_KEPT_QUANTILE)
        origin = np.linalg.lstsq(design[kept], moved[kept], rcond=None)[0]
    return origin.astype(np.float64)


def shift_error_A(
    shifts_A: NDArray, true_shifts_A: NDArray, true_rotations: NDArray, origin_A: NDArray
) -> NDArray[np.float64]:
    """(n,) length in angstrom of what the moved origin does not explain."""
    explained = np.asarray(true_rotations, np.float64)[:, :2, :] @ origin_A
    return np.linalg.norm(shifts_A - true_shifts_A - explained, axis=1)


def nearest_rotation(matrix: NDArray) -> NDArray[np.float64]:
    """(3, 3) rotation nearest to a (3, 3) matrix."""
    u, _, vt = np.linalg.svd(matrix)
    return u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt


def spread(rows: NDArray, count: int) -> NDArray:
    """At most `count` evenly spaced rows."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]

"""Pose error modulo a symmetry that a molecule nearly has, whose axis is found from the poses themselves.

A trimer with one arm up looks nearly alike from three sides. A run's rotations R' and the true ones R then
obey R' ~ R S^k A: one rotation A for all particles, and for each particle a turn S^k of its own about the
near axis. Angles are judged to the nearest of the turns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from nunatak.core.errors import require
from nunatak.metrics.pose_error import (
    angles_to,
    common_rotation,
    nearest_rotation,
    relative_rotations,
    spread,
)

_CANDIDATES, _WITNESSES, _NEAR_DEG, _STEPS = 200, 1500, 15.0, 10


def within_state_error_modulo_turns_deg(
    rotations: NDArray, true_rotations: NDArray, states: NDArray, hand: int, order: int
) -> NDArray[np.float64]:
    """(n,) degrees left modulo `order` turns about one axis, each state in a frame of its own.

    Parameters
    ----------
    rotations, true_rotations : (n, 3, 3)
        Rows are the image axes in the volume frame.
    states : (n,) int
    hand : int
        +1 or -1, for all states.
    order : int
        Of the near symmetry, 2 or more.

    Raises
    ------
    InputError
        The order is less than two.
    """
    require(order >= 2, f"A symmetry of order {order} is none: expected 2 or more.")
    error_deg = np.empty(len(rotations))
    for state in np.unique(states):
        mine = states == state
        relative = relative_rotations(rotations[mine], true_rotations[mine], hand)
        error_deg[mine] = _error_modulo_turns_deg(relative, order)
    return error_deg


def _error_modulo_turns_deg(relative: NDArray, order: int) -> NDArray[np.float64]:
    """(n,) what is left of (n, 3, 3) rotations R^T R' ~ S^k A, of which the commonest turn makes A."""
    some = spread(relative, _WITNESSES)
    candidates = spread(relative, _CANDIDATES)
    near = [(angles_to(candidate, some) < _NEAR_DEG).sum() for candidate in candidates]
    common = candidates[int(np.argmax(near))]
    turn = _commonest_turn(some @ common.T, order)
    for _ in range(_STEPS):
        which = _nearest_turns(relative @ common.T, turn)
        turned_back = np.swapaxes(turn, 1, 2)[which] @ relative
        common = common_rotation(turned_back)
        turn = _turns(_mean_axis(relative @ common.T, which, turn), order)
    return np.stack([angles_to(one @ common, relative) for one in turn]).min(0)


def _commonest_turn(differences: NDArray, order: int) -> NDArray[np.float64]:
    """(order, 3, 3) turns about the axis to whose turns most of (n, 3, 3) rotations are near."""
    vectors = Rotation.from_matrix(differences).as_rotvec()
    angle = np.linalg.norm(vectors, axis=1)
    turned = vectors[angle > np.radians(180 / order)]
    axes = spread(turned, _CANDIDATES) if len(turned) else np.array([[0.0, 0.0, 1.0]])
    axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    explained = [
        (np.stack([angles_to(one, differences) for one in _turns(axis, order)[1:]]).min(0) < _NEAR_DEG).sum()
        for axis in axes
    ]
    return _turns(axes[int(np.argmax(explained))], order)


def _turns(axis: NDArray, order: int) -> NDArray[np.float64]:
    """(order, 3, 3) rotations by equal parts of a circle about a (3,) unit axis, no turn first."""
    angles = 2 * np.pi / order * np.arange(order)
    return Rotation.from_rotvec(angles[:, None] * axis).as_matrix()


def _nearest_turns(differences: NDArray, turn: NDArray) -> NDArray[np.int64]:
    return np.stack([angles_to(one, differences) for one in turn]).argmin(0)


def _mean_axis(differences: NDArray, which: NDArray, turn: NDArray) -> NDArray[np.float64]:
    """(3,) axis about which particles that are near to a turn other than none were turned."""
    axis = Rotation.from_matrix(turn[1]).as_rotvec()
    axis /= np.linalg.norm(axis)
    total = axis.copy()
    for k in range(1, len(turn)):
        mine = differences[which == k]
        mine = mine[angles_to(turn[k], mine) < _NEAR_DEG] if len(mine) else mine
        if len(mine):
            mean = Rotation.from_matrix(nearest_rotation(mine.mean(0))).as_rotvec()
            total += len(mine) * mean * np.sign(mean @ axis) / max(np.linalg.norm(mean), 1e-12)
    return total / np.linalg.norm(total)

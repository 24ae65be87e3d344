"""Frames of states as a smooth function of where the states lie in the latent space."""

from __future__ import annotations

import torch
from torch import Tensor

from nunatak.geometry.rotations import mean_rotation, rotation_from_vector, vector_from_rotation
from nunatak.volumes.alignment import Motion

# Of the weight of all groups: keeps directions in which the groups do not differ at zero.
_RIDGE = 0.01
_ITERATIONS = 20


def smooth_motion(centres: Tensor, shares: Tensor, motion: Motion) -> Motion:
    """Motions replaced by the affine function of the centres that fits them best, outliers weighing less.

    The frame of a run drifts steadily along a movement, but the images of a group were aligned to a model of
    few components, in which neighbouring states are one rigid shape: motions found group by group follow that
    shape, and err in steps (theory eq. 12, docs/decisions/0008). Iteratively reweighted least squares with
    weights 1 / max(1, r / median r) (Huber 1964) on rotation vectors from the mean, and on shifts.

    Parameters
    ----------
    centres : (k, q) float
        Mean latent of each group, in units in which all directions count alike.
    shares : (k,) float
        Part of the particles in each.
    motion : Motion
        One per group.
    """
    like = motion.rotations
    place = centres.double() - centres.double().mean(0)
    place = place / place.std().clamp(min=1e-12)
    features = torch.cat([torch.ones_like(place[:, :1]), place], 1)
    weights = shares.double()
    turns = motion.rotations.double()
    mean = mean_rotation(turns, weights)
    found = torch.cat([vector_from_rotation(mean.T @ turns), motion.shifts_px.double()], 1)
    fitted = _robust_fit(features, found, weights)
    rotations = mean @ rotation_from_vector(fitted[:, :3])
    return Motion(rotations.to(like), fitted[:, 3:].to(like))


def _robust_fit(features: Tensor, values: Tensor, shares: Tensor) -> Tensor:
    """(k, m) fitted values; residuals are those of the first three columns, the rotation vectors."""
    ridge = _RIDGE * shares.sum() * torch.eye(features.shape[1], dtype=features.dtype, device=features.device)
    ridge[0, 0] = 0.0
    weights, fitted = shares, values
    for _ in range(_ITERATIONS):
        weighted = weights[:, None] * features
        fitted = features @ torch.linalg.solve(features.T @ weighted + ridge, weighted.T @ values)
        residual = (fitted - values)[:, :3].norm(dim=1)
        weights = shares / (residual / residual.median().clamp(min=1e-6)).clamp(min=1)
    return fitted

"""Frames of states as a smooth function of where the states lie in the latent space."""

from __future__ import annotations

import torch
from torch import Tensor

from nunatak.geometry.rotations import mean_rotation, rotation_from_vector, vector_from_rotation
from nunatak.volumes.alignment import Motion, move_maps

# Of the weight of all groups: keeps directions in which the groups do not differ at zero.
_RIDGE = 0.01
_ITERATIONS = 20
# Of all pairs of groups, those furthest apart: the larger part stands out where the rest has moved away.
_FAR_PAIRS = 0.05
_ASCENT_STEPS = 100
# Voxels for a shift that changes a map about as much as a radian.
_VOXELS_PER_RADIAN = 10.0


def smooth_motion(places: Tensor, shares: Tensor, motion: Motion) -> Motion:
    """Motions replaced by the affine function of the places that fits them best, outliers weighing less.

    The frame of a run drifts steadily along a movement, but the images of a group were aligned to a model of
    few components, in which neighbouring states are one rigid shape: motions found group by group follow that
    shape, and err in steps (theory eq. 12, docs/decisions/0008). Iteratively reweighted least squares with
    weights 1 / max(1, r / median r) (Huber 1964) on rotation vectors from the mean, and on shifts.

    Parameters
    ----------
    places : (k, q) float
        Where each group lies, in units in which all directions count alike.
    shares : (k,) float
        Part of the particles in each.
    motion : Motion
        One per group.
    """
    like = motion.rotations
    place = _scaled(places.double())
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


def _scaled(places: Tensor) -> Tensor:
    """(k, q) places from their mean, in units of their spread."""
    place = places - places.mean(0)
    return place / place.std().clamp(min=1e-12)


def still_motion(maps: Tensor, places: Tensor, shares: Tensor, motion: Motion) -> Motion:
    """Motions in which states that are far apart correlate best, moved by an affine function of the places.

    States near each other are told apart by little, and correlate best in a frame that shares their motion;
    those far apart do so where the larger of their parts coincides (docs/decisions/0008). Quasi-Newton ascent
    (L-BFGS, Liu & Nocedal 1989) of the mean correlation of the furthest twentieth of all pairs.

    Parameters
    ----------
    maps : (k, d, d, d) float32
        Whitened maps, on a box large enough that interpolation takes nothing from them.
    places : (k, q), shares : (k,)
        As for smooth_motion.
    motion : Motion
        Where to begin, in voxels of the maps.
    """
    place = _scaled(places).to(maps)
    apart = torch.cdist(place, place)
    upper = torch.triu(torch.ones_like(apart, dtype=torch.bool), 1)
    far = upper & (apart >= torch.quantile(apart[upper], 1 - _FAR_PAIRS))
    weights = torch.where(far, shares[:, None] * shares[None], 0.0).to(maps)
    slopes = maps.new_zeros(place.shape[1], 6, requires_grad=True)
    ascent = torch.optim.LBFGS([slopes], max_iter=_ASCENT_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        ascent.zero_grad()
        moved = move_maps(maps, _tilted(motion, place, slopes)).flatten(1)
        moved = moved / moved.norm(dim=1, keepdim=True).clamp(min=1e-30)
        lost = -(weights * (moved @ moved.T)).sum() / weights.sum()
        torch.autograd.backward(lost)
        return lost

    with torch.enable_grad():
        ascent.step(loss)
    return _tilted(motion, place, slopes.detach())


def _tilted(motion: Motion, place: Tensor, slopes: Tensor) -> Motion:
    """Motions after turns and shifts that are linear in the places."""
    more = place @ slopes
    turned = rotation_from_vector(more[:, :3]) @ motion.rotations
    return Motion(turned, motion.shifts_px + _VOXELS_PER_RADIAN * more[:, 3:])

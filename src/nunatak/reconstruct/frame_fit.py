"""Frames of states as a smooth function of where the states lie in the latent space."""

from __future__ import annotations

import torch
from torch import Tensor

from nunatak.core.collective import ALONE, Group
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


def still_motion(
    maps: Tensor, places: Tensor, shares: Tensor, motion: Motion, group: Group = ALONE
) -> Motion:
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
    group : Group
        Processes that have the same maps, and share out the voxels that are compared.
    """
    place = _scaled(places).to(maps)
    weights = _far_pairs(place, shares).to(maps)
    # States in the middle of the path are in no such pair.
    asked = torch.nonzero(weights.sum(0) + weights.sum(1) > 0).flatten()
    some, weights = Motion(motion.rotations[asked], motion.shifts_px[asked]), weights[asked][:, asked]
    slopes = maps.new_zeros(place.shape[1], 6, requires_grad=True)
    ascent = torch.optim.LBFGS([slopes], max_iter=_ASCENT_STEPS, line_search_fn="strong_wolfe")
    planes = slice(*group.share_of(maps.shape[-1]).bounds)

    def loss() -> Tensor:
        ascent.zero_grad()
        moved = move_maps(maps[asked], _tilted(some, place[asked], slopes), planes).flatten(1)
        lost, slopes.grad = _lost(moved, weights, slopes, group)
        return lost

    with torch.enable_grad():
        ascent.step(loss)
    return _tilted(motion, place, slopes.detach())


def _far_pairs(place: Tensor, shares: Tensor) -> Tensor:
    """(k, k) weights of the pairs that are furthest apart, each once; zero for all others."""
    apart = torch.cdist(place, place)
    upper = torch.triu(torch.ones_like(apart, dtype=torch.bool), 1)
    far = upper & (apart >= torch.quantile(apart[upper], 1 - _FAR_PAIRS))
    return torch.where(far, shares[:, None] * shares[None], 0.0)


def _lost(moved: Tensor, weights: Tensor, slopes: Tensor, group: Group) -> tuple[Tensor, Tensor]:
    """Minus the mean correlation of pairs of maps, and its gradient; each process has some voxels of all.

    Correlations are made of the products of maps summed over voxels, so the products are totalled, and then
    the parts of the gradient that pass through each process' own products.
    """
    own = moved @ moved.T
    products = group.total(own.detach().clone()).requires_grad_()
    norms = products.diagonal().clamp(min=1e-30).sqrt()
    lost = -(weights * products / (norms[:, None] * norms)).sum() / weights.sum()
    (by_products,) = torch.autograd.grad(lost, products)
    (gradient,) = torch.autograd.grad(own, slopes, by_products)
    # Steps must not drift apart among the processes by rounding.
    return group.agreed((lost.detach(), group.total(gradient)))


def _tilted(motion: Motion, place: Tensor, slopes: Tensor) -> Motion:
    """Motions after turns and shifts that are linear in the places."""
    more = place @ slopes
    turned = rotation_from_vector(more[:, :3]) @ motion.rotations
    return Motion(turned, motion.shifts_px + _VOXELS_PER_RADIAN * more[:, 3:])

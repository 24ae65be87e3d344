"""One expectation step over a whole pose grid, and the sums that go back into the volume, as matrix products.

With whitened, CTF-multiplied features x of an image per trial shift and features P of the turned slices,

    log p(x | pose, shift) = <x, P> - 1/2 <c^2, |P|^2> + const               (theory eq. 4)

is a product over all (image, shift) x pose pairs; the posterior weights times the same features give one
summed slice per pose (theory eq. 6), so that only the grid's directions are inserted, not images times poses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nunatak.geometry.so3_grid import RotationGrid
from nunatak.projection.operator import slice_block
from nunatak.search import marginal_kernels as kernels
from nunatak.search.polar import PolarPlane, fold_turns, fold_weights, turn_all, turn_weights


@dataclass(frozen=True)
class SliceBank:
    """Turned slices of one map at every pose of a grid.

    Attributes
    ----------
    grid : RotationGrid
    plane : PolarPlane
    base : (d, n) complex64
        Slices at the directions, not turned.
    features : (p, 2 n) bfloat16 or float32
    power : (p, n) float32
        |P|^2 of each sample.
    """

    grid: RotationGrid
    plane: PolarPlane
    base: Tensor
    features: Tensor
    power: Tensor


@dataclass(frozen=True)
class ImageBatch:
    """Polar samples of b images, whitened: unit variance per real feature.

    Attributes
    ----------
    samples : (b, n) complex64
        sqrt(2 area) Y / sigma.
    transfer : (b, n) float32
        sqrt(2 area) CTF / sigma.
    """

    samples: Tensor
    transfer: Tensor

    def within(self, count: int) -> ImageBatch:
        """The first `count` samples."""
        return ImageBatch(self.samples[:, :count], self.transfer[:, :count])


@dataclass(frozen=True)
class MarginalSums:
    """What one batch says: sums per direction for the volume, and a summary per image.

    Attributes
    ----------
    numerator : (d, n) complex64
    denominator : (d, n) float32
    log_evidence : (b,) float32
        log sum over poses of prior times likelihood ratio to pure noise.
    best_pose, best_shift : (b,) int64
    best_weight : (b,) float32
        Posterior weight of the best (pose, shift) pair.
    shift_moment : float
        Posterior mean of the squared shift, summed over the batch, in the unit of the shifts.
    """

    numerator: Tensor
    denominator: Tensor
    log_evidence: Tensor
    best_pose: Tensor
    best_shift: Tensor
    best_weight: Tensor
    shift_moment: float


def scoring_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where matrix products in it are fast, float32 elsewhere."""
    if device.type == "cuda":
        return torch.bfloat16
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


def slice_bank(block: Tensor, grid: RotationGrid, plane: PolarPlane, dtype: torch.dtype) -> SliceBank:
    """Bank of the first channel of a block."""
    base = slice_block(block[..., :1], grid.directions.to(block.device), plane.frequencies)[..., 0]
    features = turn_all(base, plane).flatten(0, 1)
    power = turn_weights(base.abs() ** 2, plane).flatten(0, 1)
    return SliceBank(grid, plane, base, features.to(dtype), power)


def shift_phases(shifts_px: Tensor, plane: PolarPlane, box_px: int) -> Tensor:
    """(s, n) complex64 factors exp(-2 pi i k.t / box): they centre an image of shift t (convention 3)."""
    angle = -2 * math.pi / box_px * (shifts_px.double() @ plane.frequencies.T)
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


def _shifted_features(batch: ImageBatch, phases: Tensor, dtype: torch.dtype) -> Tensor:
    """(b, s, 2 n) features of CTF-multiplied images at every trial shift."""
    weighted = batch.samples * batch.transfer
    shifted = weighted[:, None] * phases[None]
    return torch.cat([shifted.real, shifted.imag], -1).to(dtype)


def marginal_step(
    bank: SliceBank,
    batch: ImageBatch,
    phases: Tensor,
    shifts_px: Tensor,
    shift_sd_px: float,
    temperature: float = 1.0,
) -> MarginalSums:
    """Posterior over the whole grid for a batch, and its sums.

    Parameters
    ----------
    phases : (s, n) complex64
        From shift_phases for `shifts_px`.
    shift_sd_px : float
        Standard deviation of the Gaussian prior on each shift coordinate.
    temperature : float
        Divides the log likelihood; above 1 early in an annealed start.
    """
    features, scores, norm, prior = _score(bank, batch, phases, (shifts_px, shift_sd_px))
    if scores.dtype == torch.bfloat16 and scores.device.type == "cpu":
        found = kernels.significant(scores, norm, prior, temperature)
        if found is not None:
            return _sparse_sums(bank, batch, phases, shifts_px, found)
    # In place: these are the largest arrays of the whole search, and memory bandwidth is what they cost.
    scores = scores.float().sub_(norm[:, None]).div_(temperature).add_(prior[:, None])
    return _dense_sums(bank, batch, features, shifts_px, scores)


def _score(
    bank: SliceBank, batch: ImageBatch, phases: Tensor, shifts: tuple[Tensor, float]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features of shifted images, their products with all slices, the norm term, the shifts' log prior."""
    shifts_px, shift_sd_px = shifts
    features = _shifted_features(batch, phases, bank.features.dtype)
    norm = 0.5 * (batch.transfer**2 @ bank.power.T)
    prior = -0.5 * (shifts_px**2).sum(1) / shift_sd_px**2
    products = (features.flatten(0, 1) @ bank.features.T).view(len(features), len(phases), -1)
    return features, products, norm, prior - torch.logsumexp(prior, 0)


def mass_near(
    bank: SliceBank,
    batch: ImageBatch,
    phases: Tensor,
    shifts: tuple[Tensor, float],
    rotations: Tensor,
    within_deg: float,
) -> tuple[Tensor, Tensor]:
    """Posterior mass of the grid's poses within an angle of given rotations, and the log evidence.

    Parameters
    ----------
    shifts : (s, 2) trial shifts in pixels and the standard deviation of their prior
    rotations : (b, 3, 3)

    Returns
    -------
    (b,) mass, 0 to 1, and (b,) log evidence against pure noise
    """
    _, products, norm, prior = _score(bank, batch, phases, shifts)
    scores = torch.logsumexp(products.float() + prior[:, None], 1) - norm
    evidence = torch.logsumexp(scores, 1)
    weights = torch.exp(scores - evidence[:, None])
    trace = rotations.flatten(1) @ bank.grid.rotations().to(rotations.device).flatten(1).T
    near = trace >= 1 + 2 * math.cos(math.radians(within_deg))
    # Rounding of the sum must not make a probability of more than one.
    return (weights * near).sum(1).clamp(max=1.0), evidence - math.log(len(bank.features))


def _dense_sums(
    bank: SliceBank, batch: ImageBatch, features: Tensor, shifts_px: Tensor, scores: Tensor
) -> MarginalSums:
    """Every score exponentiated and every weight summed, as a second matrix product: the reference."""
    poses, directions = len(bank.features), len(bank.grid.directions)
    shape = (directions, bank.grid.in_plane_count, -1)
    log_evidence = torch.logsumexp(scores.flatten(1), 1)
    weights = scores.sub_(log_evidence[:, None, None]).exp_()
    numerator = weights.to(features.dtype).flatten(0, 1).T @ features.flatten(0, 1)
    denominator = weights.sum(1).T @ batch.transfer**2
    top, argument = weights.flatten(1).max(1)
    return MarginalSums(
        fold_turns(numerator.float().view(shape), bank.plane),
        fold_weights(denominator.view(shape), bank.plane),
        log_evidence - math.log(poses),
        argument % poses,
        argument // poses,
        top,
        float((weights.sum(2) @ (shifts_px**2).sum(1)).sum()),
    )


def _sparse_sums(
    bank: SliceBank, batch: ImageBatch, phases: Tensor, shifts_px: Tensor, found: kernels.Significant
) -> MarginalSums:
    """The same sums from the significant scores only."""
    plane = bank.plane
    numerator, denominator = kernels.accumulate(
        found,
        batch.samples * batch.transfer,
        batch.transfer**2,
        phases,
        plane.turns,
        plane.mates,
        len(bank.grid.directions),
    )
    starts = np.searchsorted(found.image, np.arange(len(batch.samples)))
    top = np.maximum.reduceat(found.weight, starts)
    # The first entry of each image that holds its largest weight.
    is_top = found.weight == top[found.image]
    best = np.flatnonzero(is_top)[np.unique(found.image[is_top], return_index=True)[1]]
    squared = (shifts_px**2).sum(1).numpy()
    return MarginalSums(
        numerator,
        denominator,
        torch.from_numpy(found.log_evidence).float() - math.log(len(bank.features)),
        torch.from_numpy(found.pose[best].astype(np.int64)),
        torch.from_numpy(found.shift[best].astype(np.int64)),
        torch.from_numpy(top).float(),
        float((found.weight * squared[found.shift]).sum()),
    )

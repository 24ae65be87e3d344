"""One expectation step over a whole pose grid, and the sums that go back into the volume, as matrix products.

With whitened, CTF-multiplied features x of an image per trial shift and features P of the turned slices,

    log p(x | pose, shift) = <x, P> - 1/2 <c^2, |P|^2> + const               (theory eq. 4)

is a product over all (image, shift) x pose pairs; the posterior weights times the same features give one
summed slice per pose (theory eq. 6), so that only the grid's directions are inserted, not images times poses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nunatak.core import device as devices
from nunatak.search import cyclic_kernels, marginal_kernels
from nunatak.search.cyclic import reference_turned_scores, residues
from nunatak.search.marginal_sums import MarginalSums, dense_sums, joined, sparse_sums
from nunatak.search.polar import PolarPlane
from nunatak.search.slice_bank import SliceBank

# Images whose scores over the whole grid fit the processor's last cache.
RESIDUE_CHUNK = 16


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

    def split(self, size: int) -> list[ImageBatch]:
        """Batches of at most `size` images."""
        pairs = zip(self.samples.split(size), self.transfer.split(size), strict=True)
        return [ImageBatch(samples, transfer) for samples, transfer in pairs]


@dataclass(frozen=True)
class TrialShifts:
    """Trial shifts of every image, and how likely they are before one has looked.

    Attributes
    ----------
    shifts_px : (s, 2) float32
    phases : (s, n) complex64
        From shift_phases.
    log_prior : (s,) float32
    """

    shifts_px: Tensor
    phases: Tensor
    log_prior: Tensor


def trial_shifts(shifts_px: Tensor, phases: Tensor, shift_sd_px: float) -> TrialShifts:
    """Trial shifts under a Gaussian prior on each coordinate."""
    prior = -0.5 * (shifts_px**2).sum(1) / shift_sd_px**2
    return TrialShifts(shifts_px, phases, prior - torch.logsumexp(prior, 0))


def shift_phases(shifts_px: Tensor, plane: PolarPlane, box_px: int) -> Tensor:
    """(s, n) complex64 factors exp(-2 pi i k.t / box): they centre an image of shift t (convention 3)."""
    angle = -2 * math.pi / box_px * (shifts_px.double() @ plane.frequencies.T)
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


def marginal_step(
    bank: SliceBank, batch: ImageBatch, trials: TrialShifts, temperature: float = 1.0
) -> MarginalSums:
    """Posterior over the whole grid for a batch, and its sums.

    Parameters
    ----------
    temperature : float
        Divides the log likelihood; above 1 early in an annealed start.
    """
    if bank.by_residue:
        parts = batch.split(RESIDUE_CHUNK)
        return joined([_residue_step(bank, part, trials, temperature) for part in parts])
    return _turned_step(bank, batch, trials, temperature)


def _residue_step(
    bank: SliceBank, batch: ImageBatch, trials: TrialShifts, temperature: float
) -> MarginalSums:
    """In float32: scores from angular residues."""
    weighted, squared = batch.samples * batch.transfer, batch.transfer**2
    shifted = (weighted[:, None] * trials.phases).flatten(0, 1)
    sums = residues(shifted, bank.turns) @ bank.matrix
    compiled = devices.is_compiled(sums)
    scored = cyclic_kernels.turned_scores if compiled else reference_turned_scores
    scores, top = scored(sums, bank.norms(squared), trials.log_prior, temperature)
    found = cyclic_kernels.significant_scores(scores, top) if compiled else None
    if found is not None:
        return sparse_sums(bank, weighted, squared, trials.phases, trials.shifts_px, found)
    return dense_sums(bank, weighted, squared, trials.phases, trials.shifts_px, scores)


def _turned_step(bank: SliceBank, batch: ImageBatch, trials: TrialShifts, temperature: float) -> MarginalSums:
    """In bfloat16: scores from every turned slice."""
    weighted, squared = batch.samples * batch.transfer, batch.transfer**2
    scores = bank.products(weighted, trials.phases)
    norm = bank.norms(squared)
    if devices.is_compiled(scores):
        flat = norm.transpose(1, 2).flatten(1).contiguous()
        found = marginal_kernels.significant(scores, flat, trials.log_prior, temperature)
        if found is not None:
            return sparse_sums(bank, weighted, squared, trials.phases, trials.shifts_px, found)
    by_turn = scores.float().unflatten(2, (-1, bank.turns)).transpose(2, 3).contiguous()
    # In place: these are the largest arrays of the whole search, and memory bandwidth is what they cost.
    by_turn.sub_(norm[:, None]).div_(temperature).add_(trials.log_prior[:, None, None])
    return dense_sums(bank, weighted, squared, trials.phases, trials.shifts_px, by_turn)


def mass_near(
    bank: SliceBank, batch: ImageBatch, trials: TrialShifts, rotations: Tensor, within_deg: float
) -> tuple[Tensor, Tensor]:
    """Posterior mass of the grid's poses within an angle of given rotations, and the log evidence.

    Parameters
    ----------
    rotations : (b, 3, 3)

    Returns
    -------
    (b,) mass, 0 to 1, and (b,) log evidence against pure noise
    """
    if bank.by_residue and len(rotations) > RESIDUE_CHUNK:
        parts = zip(batch.split(RESIDUE_CHUNK), rotations.split(RESIDUE_CHUNK), strict=True)
        found = [mass_near(bank, part, trials, poses, within_deg) for part, poses in parts]
        return torch.cat([mass for mass, _ in found]), torch.cat([log for _, log in found])
    products = bank.products(batch.samples * batch.transfer, trials.phases).float()
    norm = bank.norms(batch.transfer**2).transpose(1, 2).flatten(1)
    # In place, as in a marginal step.
    scores = torch.logsumexp(products.add_(trials.log_prior[:, None]), 1) - norm
    evidence = torch.logsumexp(scores, 1)
    weights = torch.exp(scores - evidence[:, None])
    trace = rotations.flatten(1) @ bank.grid.rotations().flatten(1).T
    near = trace >= 1 + 2 * math.cos(math.radians(within_deg))
    # Rounding of the sum must not make a probability of more than one.
    return (weights * near).sum(1).clamp(max=1.0), evidence - math.log(bank.poses)

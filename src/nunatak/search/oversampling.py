"""Adaptive oversampling: all poses of a coarse grid, then the children of those that matter.

RELION's two-pass expectation (Scheres 2012; Tagare et al. 2010): the smallest set of coarse poses that
holds a fraction of the posterior is kept for every image, and each is replaced by 8 rotations times 4
shifts of half the spacing. Over several maps at once, the classes are one more thing that the posterior is
over.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nunatak.geometry.so3_grid import cell_rotations, child_cells
from nunatak.projection.operator import slice_block
from nunatak.search.marginal import ImageBatch, TrialShifts
from nunatak.search.pose_grid import WeightedImages, centring_phases
from nunatak.search.slice_bank import SliceBank

MOST_SIGNIFICANT = 200
"""Coarse poses kept per image at most; RELION's --maxsig."""
HYPOTHESES_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class Hypotheses:
    """Coarse poses that matter: h of them, of any image and class.

    Attributes
    ----------
    rows, classes : (h,) int64
    poses : (h,) int64
        Directions times turns of the grid, turns fastest.
    shifts_px : (h, 2) float32
    """

    rows: Tensor
    classes: Tensor
    poses: Tensor
    shifts_px: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, picked: Tensor | slice) -> Hypotheses:
        return Hypotheses(self.rows[picked], self.classes[picked], self.poses[picked], self.shifts_px[picked])


@dataclass(frozen=True)
class FinePoses:
    """Children of hypotheses with their log posteriors, up to each image's normaliser.

    Attributes
    ----------
    rotations : (h, 8, 3, 3) float32
    shifts_px : (h, 4, 2) float32
    scores : (h, 8, 4) float32
        Log likelihood against pure noise, plus the log priors.
    """

    rotations: Tensor
    shifts_px: Tensor
    scores: Tensor


def significant_poses(
    banks: list[SliceBank], batch: ImageBatch, trials: TrialShifts, log_weights: Tensor, fraction: float
) -> tuple[Hypotheses, Tensor]:
    """The coarse poses that hold a fraction of each image's posterior, and the coarse log evidence.

    Parameters
    ----------
    banks : list of SliceBank
        One per class, on one grid and plane.
    batch : ImageBatch
        b images on that plane.
    log_weights : (classes,)
        Log prior of the classes.
    fraction : float
        0 to 1; at least the best pose is kept, at most MOST_SIGNIFICANT.

    Returns
    -------
    Hypotheses, whose rows count from 0 in the batch; and (b,)
    """
    weighted, squared = batch.samples * batch.transfer, batch.transfer**2
    tables = []
    for bank, log_weight in zip(banks, log_weights, strict=True):
        scores = bank.products(weighted, trials.phases).float()
        norm = bank.norms(squared).transpose(1, 2).flatten(1)
        tables.append(scores - norm[:, None] + (trials.log_prior[:, None] + log_weight))
    table = torch.stack(tables, 1)
    shape, flat = table.shape, table.flatten(1)
    evidence = torch.logsumexp(flat, 1)
    top, place = flat.topk(min(MOST_SIGNIFICANT, flat.shape[1]), 1)
    mass = torch.exp(top - evidence[:, None])
    # Kept until those before it hold the fraction, so the set is the smallest that does.
    keep = mass.cumsum(1) - mass < fraction
    keep[:, 0] = True
    rows = torch.nonzero(keep)[:, 0]
    place = place[keep]
    pose, rest = place % shape[3], place // shape[3]
    shifts_px = trials.shifts_px[rest % shape[2]]
    return Hypotheses(rows, rest // shape[2], pose, shifts_px), evidence


def oversampled(hypotheses: Hypotheses, order: int, in_plane: int, step_px: float) -> tuple[Tensor, Tensor]:
    """(h, 8, 3, 3) rotations and (h, 4, 2) shifts that hypotheses of a grid's order are made of."""
    pixels, turns = child_cells(hypotheses.poses // in_plane, hypotheses.poses % in_plane)
    quarter = step_px / 4
    device = hypotheses.shifts_px.device
    corners = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]], device=device) * quarter
    return cell_rotations(order, order + 1, pixels, turns), hypotheses.shifts_px[:, None] + corners


def score_fine(
    blocks: list[Tensor],
    images: WeightedImages,
    hypotheses: Hypotheses,
    children: tuple[Tensor, Tensor],
) -> Tensor:
    """(h, 8, 4) log likelihoods against pure noise of the children of hypotheses.

    Parameters
    ----------
    blocks : list of (m, m, h, 1) complex64
        One per class.
    images : WeightedImages
        Cut to the radius of the fine scores; `rows` of the hypotheses index them.
    children : tensors
        From oversampled.
    """
    rotations, shifts_px = children
    scores = rotations.new_zeros(len(hypotheses), rotations.shape[1], shifts_px.shape[1])
    for number, block in enumerate(blocks):
        mine = torch.nonzero(hypotheses.classes == number).flatten()
        for part in mine.split(HYPOTHESES_AT_ONCE // rotations.shape[1]):
            views = slice_block(block, rotations[part].flatten(0, 1), images.plane.frequencies)[..., 0]
            views = views.view(len(part), rotations.shape[1], views.shape[-1])
            rows = hypotheses.rows[part]
            centred = images.weighted[rows][:, None] * centring_phases(shifts_px[part], images.plane)
            cross = (views.conj() @ centred.transpose(1, 2)).real
            norm = (views.abs() ** 2 @ images.power[rows][..., None])[..., 0]
            scores[part] = cross - 0.5 * norm[..., None]
    return scores


def normalised(scores: Tensor, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Posterior weights of (h, ...) log scores over each image's hypotheses, and (count,) log evidence."""
    per = scores.flatten(1).logsumexp(1)
    top = scores.new_full((count,), -torch.inf).scatter_reduce(0, rows, per, "amax")
    total = scores.new_zeros(count).index_add(0, rows, torch.exp(per - top[rows]))
    evidence = top + total.log()
    shape = (len(rows),) + (1,) * (scores.dim() - 1)
    return torch.exp(scores - evidence[rows].view(shape)), evidence

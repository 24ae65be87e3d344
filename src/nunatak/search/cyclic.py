"""In-plane turns as a cyclic convolution: scores at all of them from one product per angular residue.

On a polar plane the samples fall into orbits of in_plane_count = C samples that a turn only moves along. A
discrete Fourier transform along each orbit makes turning by s steps a factor exp(2 pi i j s / C), so that

    <x, P turned by s> = 1/(2 C) sum_j g_j Re[ exp(2 pi i j s / C) sum_u conj(X_u(j)) P_u(j) ]

with j from 0 to C / 2, u the orbits, and g = 1 at both ends and 2 between (theory eq. 4a). It is exact, and
costs C / 2 times fewer operations than a product with every turned slice. The sums of the M-step are the
transposed products.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from nunatak.core.device import CPU


@lru_cache(maxsize=8)
def _transform(count: int, device: torch.device) -> Tensor:
    """(C, C + 2) float32: (Re, Im) of the C / 2 stored samples of an orbit to (Re, Im) of its residues.

    The other C / 2 samples are the Friedel mates, f(v + C / 2) = conj f(v).
    """
    half = count // 2
    exact: dict[str, Any] = {"dtype": torch.float64, "device": device}
    place, residue = torch.arange(half, **exact), torch.arange(half + 1, **exact)
    angle = -2 * math.pi / count * place[:, None] * residue
    even = (residue % 2 == 0).double()
    # An even residue sees twice the real part, an odd one 2 i times the imaginary part.
    from_real = torch.stack([2 * even * torch.cos(angle), 2 * even * torch.sin(angle)], -1)
    odd = 1 - even
    from_imaginary = torch.stack([-2 * odd * torch.sin(angle), 2 * odd * torch.cos(angle)], -1)
    return torch.stack([from_real, from_imaginary], 1).reshape(count, 2 * (half + 1)).float()


@lru_cache(maxsize=8)
def turn_weights_of_residues(count: int, device: torch.device = CPU) -> tuple[Tensor, Tensor]:
    """(C / 2 + 1, C) cosines and sines, with the factor g_j / (2 C) of the module's equation."""
    exact: dict[str, Any] = {"dtype": torch.float64, "device": device}
    residue = torch.arange(count // 2 + 1, **exact)[:, None]
    angle = 2 * math.pi / count * residue * torch.arange(count, **exact)
    ends = (residue == 0) | (residue == count // 2)
    factor = torch.where(ends, 0.5, 1.0) / count
    return (factor * torch.cos(angle)).float(), (factor * torch.sin(angle)).float()


def residues(samples: Tensor, count: int) -> Tensor:
    """(C / 2 + 1, ..., 2 u) float32 residues, re and im in turn, of (..., n) complex64 polar samples.

    Parameters
    ----------
    count : int
        C, the plane's in_plane_count.
    """
    orbits = torch.view_as_real(samples.contiguous()).unflatten(-2, (-1, count // 2)).flatten(-2)
    found = orbits @ _transform(count, samples.device)
    return found.unflatten(-1, (count // 2 + 1, 2)).movedim(-2, 0).flatten(-2)


def samples_of_residues(found: Tensor, count: int) -> Tensor:
    """Inverse of residues: (..., n) complex64 samples."""
    ends = torch.ones(count // 2 + 1, device=found.device)
    ends[0] = ends[-1] = 0.5
    # The transform's columns are orthogonal up to the factor that its transpose is divided by.
    pairs = found.unflatten(-1, (-1, 2)).movedim(0, -2) * ends[:, None]
    orbits = pairs.flatten(-2) @ _transform(count, found.device).T / count
    return torch.view_as_complex(orbits.reshape(*orbits.shape[:-2], -1, 2).contiguous())


def slice_matrix(slices: Tensor) -> Tensor:
    """(C / 2 + 1, 2 u, 2 d) factors that take image residues to (Re, Im) of the sum over orbits.

    Parameters
    ----------
    slices : (C / 2 + 1, d, 2 u)
        Residues of the slices.
    """
    pairs = slices.unflatten(-1, (-1, 2))
    real, imaginary = pairs.unbind(-1)
    # conj(x) p = (xr pr + xi pi) + i (xr pi - xi pr)
    columns = torch.cat([torch.stack([real, imaginary], -1), torch.stack([imaginary, -real], -1)], 1)
    return columns.flatten(-2).transpose(1, 2).contiguous()


def turned_products(sums: Tensor, count: int) -> Tensor:
    """(b, C, d) real products at every turn from (C / 2 + 1, b, 2 d) sums over orbits."""
    cosine, sine = turn_weights_of_residues(count, sums.device)
    pairs = sums.unflatten(-1, (2, -1)).movedim(2, 1).flatten(2).flatten(0, 1)
    weights = torch.stack([cosine, -sine], 1).flatten(0, 1).T
    return (weights @ pairs).unflatten(1, (*sums.shape[1:2], sums.shape[2] // 2)).movedim(0, 1)


def weighted_residues(weights: Tensor, images: Tensor, count: int) -> Tensor:
    """(C / 2 + 1, d, 2 u) residues of sum_b sum_s weight(b, s, d) x_b turned back onto the direction.

    Parameters
    ----------
    weights : (b, C, d)
    images : (C / 2 + 1, b, 2 u)
        Residues of the images.
    """
    residue = torch.arange(count // 2 + 1, device=weights.device, dtype=weights.dtype)
    turn = torch.arange(count, device=weights.device, dtype=weights.dtype)
    angle = 2 * math.pi / count * residue[:, None] * turn
    # exp(-2 pi i j s / C) summed over the turns.
    by_real = (torch.cos(angle) @ weights).permute(1, 2, 0) @ images
    by_imaginary = -(torch.sin(angle) @ weights).permute(1, 2, 0) @ images
    (a, b), (c, d) = (part.unflatten(-1, (-1, 2)).unbind(-1) for part in (by_real, by_imaginary))
    return torch.stack([a - d, b + c], -1).flatten(-2)


def reference_turned_scores(
    sums: Tensor, norm: Tensor, prior: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log posteriors, not normalised, at every shift, turn and direction, and each image's best.

    Parameters
    ----------
    sums : (C / 2 + 1, b * s, 2 d)
        Image residues, shift fastest, times a slice_matrix.
    norm : (b, C, d)
        1/2 <c^2, |P|^2>.
    prior : (s,)
        Log prior of the shifts.

    Returns
    -------
    (b, s, C, d) and (b,)
    """
    products = turned_products(sums, norm.shape[1]).unflatten(0, (len(norm), len(prior)))
    scores = (products - norm[:, None]) / temperature + prior[:, None, None]
    return scores, scores.flatten(1).amax(1)

"""Where on a landscape an image says that its particle lies: a sum of Gaussians, one around each node.

The particles' density is a sum of kernels around the nodes. Within a kernel the functions are linear, so that
its part of the posterior is a Gaussian in closed form; between the nodes there is thus no gap, however sure
an image is (theory eq. 21).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nunatak.latent.landscape import Landscape
from nunatak.latent.subspace import LatentPosterior
from nunatak.projection.slices import packed_products

IMAGES_AT_ONCE = 1024
"""Several matrices for each of an image's likely nodes are held: for more images they would fill memory."""
_LIKELY = 32
"""Nodes of an image whose kernels' parts are worked out. Where an image leaves more nodes than that, it
does not tell one place in a kernel from another."""


@dataclass(frozen=True)
class _Likely:
    """What an image says of the places in the kernels of the nodes that it finds likeliest.

    Attributes
    ----------
    rows : (n, t) int64
        The nodes.
    moves : (n, t, q) float32
        From the node to the part's mean.
    spreads : (n, t, q, q) float32
        The part's covariance.
    gains : (n, t) float32
        Log evidence of the kernel over that of its node.
    """

    rows: Tensor
    moves: Tensor
    spreads: Tensor
    gains: Tensor


def placed(
    landscape: Landscape, values: Tensor, information: Tensor, pull: Tensor
) -> tuple[LatentPosterior, LatentPosterior]:
    """Posteriors of the functions, for maps, and of the latent, for all else.

    The functions' prior is the particles' own density, as nodes are particles; the latent's is the standard
    normal one of convention 10, to which nodes are weighed by the density (theory eq. 21).

    Parameters
    ----------
    values : (n, k) float32
        The functions where the images were compared with the maps.
    information : (n, k, k), pull : (n, k)
        Of the log likelihood there: -d' I d / 2 + pull' d for a change d of the functions.
    """
    parts = zip(*(part.split(IMAGES_AT_ONCE) for part in (values, information, pull)), strict=True)
    found = [_placed(landscape, *part) for part in parts]
    return _joined([functions for functions, _ in found]), _joined([latents for _, latents in found])


def _joined(parts: list[LatentPosterior]) -> LatentPosterior:
    return LatentPosterior(
        torch.cat([part.means for part in parts]), torch.cat([part.covariances for part in parts])
    )


def _placed(
    landscape: Landscape, values: Tensor, information: Tensor, pull: Tensor
) -> tuple[LatentPosterior, LatentPosterior]:
    nodes, slopes = landscape.nodes, landscape.slopes()
    at_nodes = landscape.functions(nodes)
    towards = pull + (information @ values[..., None])[..., 0]
    fit = towards @ at_nodes.T - 0.5 * _packed(information, 2.0) @ packed_products(at_nodes).T
    kernel = landscape.kernel()
    likely = _within(fit, (towards, information), (at_nodes, slopes), kernel)
    fit = fit.scatter_add(1, likely.rows, likely.gains)
    normal = -0.5 * nodes.square().sum(1) - landscape.density().log()
    plain = torch.eye(nodes.shape[1], device=nodes.device).expand(len(nodes), -1, -1)
    return (
        _moments(torch.softmax(fit, 1), at_nodes, slopes, likely, kernel),
        _moments(torch.softmax(fit + normal, 1), nodes, plain, likely, kernel),
    )


def _within(
    fit: Tensor, image: tuple[Tensor, Tensor], there: tuple[Tensor, Tensor], kernel: Tensor
) -> _Likely:
    """Gaussian parts of the posterior: exp(g' d - d' H d / 2) times the kernel N(d; 0, S)."""
    (towards, information), (at_nodes, slopes) = image, there
    rows = fit.topk(min(_LIKELY, fit.shape[1]), 1).indices
    slope = slopes[rows]
    # Sums over functions twice: of the curvature first, whose product with the slopes serves both.
    curved = information[:, None] @ slope
    pull = towards[:, None] - (at_nodes[rows] @ information)
    gradient = (slope.transpose(2, 3) @ pull[..., None])[..., 0]
    precision = slope.transpose(2, 3) @ curved + torch.linalg.inv(kernel)
    factor = torch.linalg.cholesky(precision)
    spreads = torch.cholesky_inverse(factor)
    moves = (spreads @ gradient[..., None])[..., 0]
    size = factor.diagonal(dim1=2, dim2=3).log().sum(2) + 0.5 * torch.logdet(kernel)
    return _Likely(rows, moves, spreads, 0.5 * (gradient * moves).sum(2) - size)


def _moments(
    weights: Tensor, points: Tensor, slopes: Tensor, likely: _Likely, kernel: Tensor
) -> LatentPosterior:
    """Mean and covariance of what has (m, d) values and (m, d, q) slopes at the nodes."""
    dim, rows = points.shape[1], likely.rows
    slope, start = slopes[rows], points[rows]
    own = weights.gather(1, rows)
    moves = (slope @ likely.moves[..., None])[..., 0]
    means = weights @ points + torch.einsum("nt,ntd->nd", own, moves)
    blurred = slopes @ kernel @ slopes.transpose(1, 2)
    # Of all nodes as if nothing were known within the kernels, then the difference for the likely ones.
    held = packed_products(points) + _packed(blurred, 1.0)
    part = slope @ likely.spreads @ slope.transpose(2, 3)
    change = _packed((part - blurred[rows]).flatten(0, 1), 1.0).unflatten(0, rows.shape)
    change = change + packed_products(start + moves) - packed_products(start)
    packed = weights @ held + torch.einsum("nt,ntp->np", own, change)
    row, column = torch.triu_indices(dim, dim, device=points.device)
    second = means.new_empty(len(means), dim, dim)
    second[:, row, column] = packed
    second[:, column, row] = packed
    return LatentPosterior(means, second - means[:, :, None] * means[:, None])


def _packed(matrices: Tensor, beside: float) -> Tensor:
    """(n, k (k + 1) / 2) of symmetric matrices, what is beside the diagonal times a factor."""
    row, column = torch.triu_indices(matrices.shape[1], matrices.shape[1], device=matrices.device)
    return matrices[:, row, column] * torch.where(row == column, 1.0, beside)

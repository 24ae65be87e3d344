"""The linear latent model V(z) = mean + sum_j z_j W_j with z ~ N(0, I): its gauge and its moments.

The mean and the components are only defined up to an affine change of z. Each pass the gauge is fixed again:
latents of zero mean, unit covariance, principal axes (convention 10); without it the mean leaks into W and
poses drift away (docs/decisions/0003).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nunatak.projection.slices import packed_products


@dataclass(frozen=True)
class LatentPosterior:
    """Gaussian posteriors of n latents.

    Attributes
    ----------
    means : (n, q) float32
    covariances : (n, q, q) float32
    """

    means: Tensor
    covariances: Tensor


@dataclass(frozen=True)
class Gauge:
    """An affine change z' = transform (z - centre) of the latents.

    Attributes
    ----------
    centre : (q,) float32
    transform : (q, q) float32
    """

    centre: Tensor
    transform: Tensor

    def latents(self, posterior: LatentPosterior) -> LatentPosterior:
        """The posterior in the new latents."""
        t = self.transform
        return LatentPosterior((posterior.means - self.centre) @ t.T, t @ posterior.covariances @ t.T)

    def maps(self, maps: Tensor) -> Tensor:
        """(1 + q, ...) maps that give the same volumes with the new latents."""
        flat = maps.flatten(1)
        mean = flat[0] + self.centre @ flat[1:]
        components = torch.linalg.inv(self.transform).T @ flat[1:]
        return torch.cat([mean[None], components]).view_as(maps)


def whitening_gauge(posterior: LatentPosterior, maps: Tensor) -> Gauge:
    """The gauge in which latents are centred, white, and the components orthogonal and ordered by power.

    Parameters
    ----------
    maps : (1 + q, d, d, d)
    """
    centre = posterior.means.mean(0)
    deviation = posterior.means - centre
    moment = deviation.T @ deviation / len(deviation) + posterior.covariances.mean(0)
    root = torch.linalg.cholesky(moment + 1e-6 * torch.eye(len(moment), device=moment.device))
    components = maps[1:].flatten(1)
    white = root.T @ components
    # Axes of the largest power first; z' = U^T root^-1 (z - centre), W' = U^T root^T W.
    vectors = torch.linalg.eigh((white @ white.T).double()).eigenvectors.flip(1).float()
    # The sign of an eigenvector is the library's choice; here an axis keeps to the side it was on.
    vectors = vectors * torch.sign(vectors.gather(0, vectors.abs().argmax(0, keepdim=True)))
    transform = vectors.T @ torch.linalg.inv(root)
    return Gauge(centre, transform)


def moments(posterior: LatentPosterior, scales: Tensor) -> tuple[Tensor, Tensor]:
    """E[(a, a z)] and packed E[(a, a z)(a, a z)^T] of n images, (n, 1 + q) and (n, (1 + q)(2 + q) / 2)."""
    ones = torch.ones(len(scales), 1, device=scales.device)
    first = torch.cat([ones, posterior.means], 1)
    second = packed_products(first)
    channels = first.shape[1]
    row, column = torch.triu_indices(channels, channels, device=scales.device)
    inner = (row > 0) & (column > 0)
    second[:, inner] += posterior.covariances[:, row[inner] - 1, column[inner] - 1]
    return scales[:, None] * first, scales[:, None] ** 2 * second

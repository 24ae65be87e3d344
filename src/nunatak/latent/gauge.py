"""The gauge of latents that a network gives: any affine change of them is as good, so one is fixed.

Convention 10: zero mean and unit variance over the population, on principal axes. Where a linear model has
its components to order the axes by (nunatak.latent.subspace), here the spread of the latents does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nunatak.latent.subspace import Gauge, LatentPosterior


def population_gauge(posterior: LatentPosterior) -> Gauge:
    """The change of latents after which means plus uncertainty have zero mean and unit variance.

    Axes are principal ones of the means, the widest first.
    """
    centre = posterior.means.mean(0)
    deviation = (posterior.means - centre).double()
    spread = deviation.T @ deviation / len(deviation)
    total = spread + posterior.covariances.double().mean(0)
    eye = torch.eye(len(total), dtype=total.dtype, device=total.device)
    inverse_root = torch.linalg.inv(torch.linalg.cholesky(total + 1e-9 * eye))
    axes = torch.linalg.eigh(inverse_root @ spread @ inverse_root.T).eigenvectors.flip(1)
    return Gauge(centre, (axes.T @ inverse_root).float())


def ungauged(latents: Tensor, gauge: Gauge) -> Tensor:
    """(n, q) latents as the network knows them, from those of a gauge."""
    return gauge.centre + latents @ torch.linalg.inv(gauge.transform).T

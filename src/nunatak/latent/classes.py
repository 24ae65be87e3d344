"""Classes as points of a linear latent space: K maps are a mean and K - 1 components, exactly.

With class k at the vertex z_k of a simplex, V(z_k) = mean + sum_j z_kj W_j is the class's map. The vertices
are placed so that latents of sharply classified particles have zero mean and unit covariance (convention
10), and everything that knows a linear model knows a mixture too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nunatak.latent.subspace import LatentPosterior


@dataclass(frozen=True)
class Simplex:
    """Where classes lie.

    Attributes
    ----------
    vertices : (K, K - 1) float32
    components : (K - 1, K) float32
        Components as sums of class maps: W_j = sum_k components[j, k] V_k.
    weights : (K,) float32
        Population of the classes; mean = sum_k weights[k] V_k.
    """

    vertices: Tensor
    components: Tensor
    weights: Tensor

    def maps(self, class_maps: Tensor) -> Tensor:
        """(K, ...) mean and components of (K, ...) maps of the classes."""
        flat = class_maps.flatten(1)
        mean = self.weights @ flat
        return torch.cat([mean[None], self.components @ flat]).view_as(class_maps)

    def posterior(self, responsibilities: Tensor) -> LatentPosterior:
        """Mean and covariance of z for (n, K) posteriors over the classes."""
        means = responsibilities @ self.vertices
        second = torch.einsum("nk,ki,kj->nij", responsibilities, self.vertices, self.vertices)
        return LatentPosterior(means, second - means[:, :, None] * means[:, None])


def simplex(weights: Tensor) -> Simplex:
    """Vertices for (K,) positive class populations that sum to 1.

    The covariance of a one-hot label, diag(p) - p p^T = U diag(l) U^T, has one null direction; in the others
    z = l^-1/2 U^T (label - p) is white.
    """
    exact = weights.double() / weights.double().sum()
    values, vectors = torch.linalg.eigh(torch.diag(exact) - exact[:, None] * exact)
    values, vectors = values[1:].flip(0), vectors[:, 1:].flip(1)
    labels = torch.eye(len(exact), dtype=torch.float64, device=exact.device) - exact
    vertices = labels @ vectors / values.sqrt()
    components = values.sqrt()[:, None] * vectors.T
    return Simplex(vertices.float(), components.float(), exact.float())

"""A curved landscape: V(z) = mean + sum_k phi_k(z) W_k with smooth functions phi of the latent.

A large motion is a curve through a linear subspace, and no plane of few components follows its images. The
functions are the smoothest ones on the particles' own distribution: singular vectors of their memberships in
nodes, which are places where particles lie (a diffusion map of landmarks: Coifman & Lafon 2006). Given them
the images are again linear in the maps W, so that maps come in closed form (theory eq. 18).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nunatak.latent.subspace import Gauge, LatentPosterior
from nunatak.projection.slices import packed_products

MOST_NODES = 1000
"""Places where particles lie; more resolve no more than the width does."""
WIDTH_IN_NOISE = 2.0
"""Standard deviation of a node's kernel in units of the latents' noise: finer structure is not seen."""
_WIDTH_IN_SPACING = 1.5
# A function that kernels of that width hold with less of its size is mostly noise of the nodes.
_LEAST_SINGULAR = 0.3
# Particles that the functions are found from.
_SAMPLED = 20_000
LATENTS_AT_ONCE = 4096
"""Whose memberships are held at the same time."""


@dataclass(frozen=True)
class Landscape:
    """Smooth functions of the latent.

    Attributes
    ----------
    nodes : (m, q) float32
        Latents of some particles.
    metric : (q, q) float32
        latents @ metric are coordinates in which noise is of unit size.
    width : float
        Standard deviation of a node's kernel in those coordinates.
    combination : (m, k) float32
        Of a latent's memberships in the nodes, for each function.
    offset : (k,) float32
        What is taken from the functions, so that their mean over the particles is zero.
    """

    nodes: Tensor
    metric: Tensor
    width: float
    combination: Tensor
    offset: Tensor

    def functions(self, latents: Tensor) -> Tensor:
        """(n, k) values of the functions at (n, q) latents."""
        # Memberships of all latents at once would be the largest thing in memory.
        parts = [self.memberships(some) @ self.combination for some in latents.split(LATENTS_AT_ONCE)]
        return torch.cat(parts) - self.offset

    def placed(
        self, values: Tensor, information: Tensor, pull: Tensor
    ) -> tuple[LatentPosterior, LatentPosterior]:
        """Posteriors over the nodes: of the functions, for maps, and of the latent, for all else.

        The functions' prior is the particles' own density, as nodes are particles; the latent's is the
        standard normal one of convention 10, to which nodes are weighed by the density (theory eq. 21).

        Parameters
        ----------
        values : (n, k) float32
            The functions where the images were compared with the maps.
        information : (n, k, k), pull : (n, k)
            Of the log likelihood there: -d' I d / 2 + pull' d for a change d of the functions.
        """
        at_nodes = self.functions(self.nodes)
        towards = pull + (information @ values[..., None])[..., 0]
        quadratic = _packed(information) @ packed_products(at_nodes).T
        fit = towards @ at_nodes.T - 0.5 * quadratic
        density, between = self._spread()
        normal = -0.5 * self.nodes.square().sum(1) - density.log()
        latents = _moments_over(torch.softmax(fit + normal, 1), self.nodes)
        return (
            _moments_over(torch.softmax(fit, 1), at_nodes),
            replace(latents, covariances=latents.covariances + between),
        )

    def in_gauge(self, gauge: Gauge) -> Landscape:
        """The same landscape of latents in another gauge."""
        moved = gauge.latents(LatentPosterior(self.nodes, self.nodes.new_zeros(1, *self.metric.shape)))
        metric = torch.linalg.inv(gauge.transform).T @ self.metric
        return replace(self, nodes=moved.means, metric=metric)

    def _spread(self) -> tuple[Tensor, Tensor]:
        """(m,) density of the particles at the nodes, up to a factor, and (q, q) covariance between nodes.

        An image that is sure of a node is not sure of where between it and its neighbours it lies.
        """
        count, dim = self.nodes.shape
        apart = torch.cdist(self.nodes @ self.metric, self.nodes @ self.metric)
        density = torch.exp(-0.5 * (apart / self.width) ** 2).mean(1)
        nearest = apart.fill_diagonal_(float("inf")).amin(1).median() if count > 1 else apart.new_ones(())
        root = torch.linalg.inv(self.metric)
        return density, (0.25 * nearest**2 / dim) * (root.T @ root)

    def memberships(self, latents: Tensor) -> Tensor:
        """(n, m) weights of the nodes at (n, q) latents; each latent's add up to 1."""
        apart = torch.cdist(latents @ self.metric, self.nodes @ self.metric)
        return torch.softmax(-0.5 * (apart / self.width) ** 2, 1)


def landscape_of(
    posterior: LatentPosterior, most_functions: int, generator: torch.Generator
) -> Landscape | None:
    """The smoothest functions on the distribution of some latents; None where it has no shape but noise.

    Parameters
    ----------
    generator : torch.Generator
        Chooses the nodes among the particles, and the particles that the functions are found from.
    """
    order = torch.randperm(len(posterior.means), generator=generator).to(posterior.means.device)
    means = posterior.means[order[:_SAMPLED]]
    noise = posterior.covariances.mean(0)
    size = noise.diagonal().mean().clamp(min=1e-12)
    root = torch.linalg.cholesky(noise + 1e-6 * size * torch.eye(len(noise), device=noise.device))
    metric = torch.linalg.inv(root).T.contiguous()
    nodes = means[:MOST_NODES]
    apart = torch.cdist(nodes @ metric, nodes @ metric).fill_diagonal_(float("inf"))
    spacing = float(apart.amin(1).median()) if len(nodes) > 1 else 0.0
    width = max(WIDTH_IN_NOISE, _WIDTH_IN_SPACING * spacing)
    plain = Landscape(nodes, metric, width, means.new_zeros(len(nodes), 0), means.new_zeros(0))
    held, squares = _moments(plain, means)
    values, vectors = _singular(held, squares)
    kept = min(most_functions, int((values[1:] > _LEAST_SINGULAR).sum()))
    if not kept:
        return None
    combination = vectors[:, 1 : kept + 1] / (held.sqrt()[:, None])
    found = replace(plain, combination=combination.float(), offset=means.new_zeros(kept))
    values_there = found.functions(means)
    scale = values_there.std(0).clamp(min=1e-12)
    return replace(found, combination=found.combination / scale, offset=values_there.mean(0) / scale)


def _packed(matrices: Tensor) -> Tensor:
    """(n, k (k + 1) / 2) of symmetric matrices: times packed products of x it is x' M x."""
    row, column = torch.triu_indices(matrices.shape[1], matrices.shape[1], device=matrices.device)
    return matrices[:, row, column] * torch.where(row == column, 1.0, 2.0)


def _moments_over(weights: Tensor, points: Tensor) -> LatentPosterior:
    """Mean and covariance of (m, d) points under (n, m) weights."""
    means, dim = weights @ points, points.shape[1]
    row, column = torch.triu_indices(dim, dim, device=points.device)
    second = means.new_empty(len(means), dim, dim)
    packed = weights @ packed_products(points)
    second[:, row, column] = packed
    second[:, column, row] = packed
    return LatentPosterior(means, second - means[:, :, None] * means[:, None])


def _moments(landscape: Landscape, means: Tensor) -> tuple[Tensor, Tensor]:
    """(m,) sums of memberships over latents and (m, m) sums of their products, float64."""
    count = len(landscape.nodes)
    held = means.new_zeros(count, dtype=torch.float64)
    products = means.new_zeros(count, count, dtype=torch.float64)
    for some in means.split(LATENTS_AT_ONCE):
        memberships = landscape.memberships(some).double()
        held += memberships.sum(0)
        products += memberships.T @ memberships
    return held.clamp(min=1e-12), products


def _singular(held: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
    """Falling singular values, and vectors, of memberships over the roots of what the nodes hold.

    The first is 1 and belongs to the constant.
    """
    root = held.sqrt()
    squares, vectors = torch.linalg.eigh(products / (root[:, None] * root))
    # The sign of an eigenvector is the library's choice; here its largest entry is positive.
    vectors = vectors * torch.sign(vectors.gather(0, vectors.abs().argmax(0, keepdim=True)))
    return squares.clamp(min=0).sqrt().flip(0), vectors.flip(1)

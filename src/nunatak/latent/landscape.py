"""A curved landscape: V(z) = mean + sum_k phi_k(z) W_k with smooth functions phi of the latent.

A large motion is a curve through a linear subspace, and no plane of few components follows its images. The
functions are the smoothest ones on the particles' own distribution: singular vectors of their memberships in
nodes, which are places where particles lie (a diffusion map of landmarks: Coifman & Lafon 2006). Given them
the images are again linear in the maps W, so that maps come in closed form, and the likelihood of every node
is a quadratic form (theory eq. 19): a posterior over nodes costs one projection of each component.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nunatak.latent.subspace import Gauge, LatentPosterior

MOST_NODES = 1000
"""Places where particles may lie; more resolve no more than the width does."""
WIDTH_IN_NOISE = 2.0
"""Standard deviation of a node's kernel in units of the latents' noise: finer structure is not seen."""
_WIDTH_IN_SPACING = 1.5
# A function that kernels of that width hold with less of its size is mostly noise of the nodes.
_LEAST_SINGULAR = 0.3
# Few updates of the shares: many gather all particles on few nodes (Lindsay 1983).
_SHARE_UPDATES = 10


@dataclass(frozen=True)
class Landscape:
    """Smooth functions of the latent, and the places where particles may lie.

    Attributes
    ----------
    nodes : (m, q) float32
        Latents.
    shares : (m,) float32
        Part of the particles at each.
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
    shares: Tensor
    metric: Tensor
    width: float
    combination: Tensor
    offset: Tensor

    def functions(self, latents: Tensor) -> Tensor:
        """(n, k) values of the functions at (n, q) latents."""
        return self._memberships(latents) @ self.combination - self.offset

    def _memberships(self, latents: Tensor) -> Tensor:
        apart = torch.cdist(latents @ self.metric, self.nodes @ self.metric)
        return torch.softmax(-0.5 * (apart / self.width) ** 2, 1)

    def in_gauge(self, gauge: Gauge) -> Landscape:
        """The same functions of the latents of another gauge."""
        nodes = (self.nodes - gauge.centre) @ gauge.transform.T
        return replace(self, nodes=nodes, metric=torch.linalg.inv(gauge.transform.T) @ self.metric)


def landscape_of(
    posterior: LatentPosterior, most_functions: int, generator: torch.Generator
) -> Landscape | None:
    """The smoothest functions on the distribution of some latents; None where it has no shape but noise.

    Parameters
    ----------
    generator : torch.Generator
        Chooses the nodes among the particles.
    """
    means = posterior.means
    count = len(means)
    noise = posterior.covariances.mean(0)
    size = noise.diagonal().mean().clamp(min=1e-12)
    root = torch.linalg.cholesky(noise + 1e-6 * size * torch.eye(len(noise), device=noise.device))
    metric = torch.linalg.inv(root).T.contiguous()
    rows = torch.randperm(count, generator=generator)[:MOST_NODES].sort().values.to(means.device)
    nodes = means[rows]
    apart = torch.cdist(nodes @ metric, nodes @ metric).fill_diagonal_(float("inf"))
    spacing = float(apart.amin(1).median()) if len(nodes) > 1 else 0.0
    width = max(WIDTH_IN_NOISE, _WIDTH_IN_SPACING * spacing)
    shares = torch.full((len(nodes),), 1 / len(nodes), device=means.device)
    plain = Landscape(nodes, shares, metric, width, torch.eye(len(nodes), device=means.device), shares * 0)
    memberships = plain.functions(means)
    values, vectors = _singular(memberships)
    kept = min(most_functions, int((values[1:] > _LEAST_SINGULAR).sum()))
    if not kept:
        return None
    combination = vectors[:, 1 : kept + 1] / (memberships.sum(0).sqrt()[:, None])
    values_there = memberships @ combination
    scale = values_there.std(0).clamp(min=1e-12)
    return replace(plain, combination=combination / scale, offset=values_there.mean(0) / scale)


def _singular(memberships: Tensor) -> tuple[Tensor, Tensor]:
    """Falling singular values, and vectors, of memberships over the roots of what the nodes hold.

    The first is 1 and belongs to the constant.
    """
    scaled = memberships.double() / memberships.double().sum(0).clamp(min=1e-12).sqrt()
    squares, vectors = torch.linalg.eigh(scaled.T @ scaled)
    # The sign of an eigenvector is the library's choice; here its largest entry is positive.
    vectors = vectors * torch.sign(vectors.gather(0, vectors.abs().argmax(0, keepdim=True)))
    return squares.clamp(min=0).sqrt().flip(0).float(), vectors.flip(1).float()


@dataclass(frozen=True)
class Information:
    """What n images say about the functions' values f: log likelihood = pull f - 1/2 f' curvature f.

    Attributes
    ----------
    pull : (n, k) float32
    curvature : (n, k, k) float32
    """

    pull: Tensor
    curvature: Tensor

    def log_likelihood(self, values: Tensor) -> Tensor:
        """(n, m) of (m, k) values, up to a constant of each image."""
        products = (values[:, :, None] * values[:, None]).flatten(1)
        return self.pull @ values.T - 0.5 * self.curvature.flatten(1) @ products.T


@dataclass(frozen=True)
class Placed:
    """Where images lie in a landscape.

    Attributes
    ----------
    values : LatentPosterior
        Of the functions.
    latents : LatentPosterior
    """

    values: LatentPosterior
    latents: LatentPosterior


def _moments(weights: Tensor, points: Tensor) -> LatentPosterior:
    """Mean and covariance of (n, m) weights on (m, k) points."""
    means = weights @ points
    products = (points[:, :, None] * points[:, None]).flatten(1)
    second = (weights @ products).view(len(weights), *points.shape[1:], -1)
    return LatentPosterior(means, second - means[:, :, None] * means[:, None])


def place(
    information: Information,
    landscape: Landscape,
    at_once: int,
    total: Callable[[Tensor], Tensor] = lambda sums: sums,
) -> tuple[Landscape, Placed]:
    """The posterior of images over the nodes, and the landscape with the shares that it gives.

    Parameters
    ----------
    at_once : int
        Images for which likelihoods of all nodes are held.
    total : function
        Sums over the images of all processes.
    """
    values, nodes = landscape.functions(landscape.nodes), landscape.nodes

    def weights(shares: Tensor) -> Iterator[Tensor]:
        # Made again each time: of all images at once they would be the largest thing in memory.
        for pull, curvature in zip(
            information.pull.split(at_once), information.curvature.split(at_once), strict=True
        ):
            yield torch.softmax(Information(pull, curvature).log_likelihood(values) + shares.log(), 1)

    shares = landscape.shares
    for _ in range(_SHARE_UPDATES):
        sums = total(sum((part.sum(0) for part in weights(shares)), torch.zeros_like(shares)))
        shares = (sums / sums.sum()).clamp(min=1e-9)
    placed = [(_moments(part, values), _moments(part, nodes)) for part in weights(shares)]
    return replace(landscape, shares=shares), Placed(*(_joined(found) for found in zip(*placed, strict=True)))


def _joined(parts: tuple[LatentPosterior, ...]) -> LatentPosterior:
    return LatentPosterior(
        torch.cat([part.means for part in parts]), torch.cat([part.covariances for part in parts])
    )

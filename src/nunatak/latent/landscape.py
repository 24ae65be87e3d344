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

MOST_NODES = 1000
"""Places where particles lie; more resolve no more than the width does."""
WIDTH_IN_NOISE = 2.0
"""Standard deviation of a node's kernel in units of the latents' noise: finer structure is not seen."""
_WIDTH_IN_SPACING = 1.5
# Of the distance between neighbouring nodes, over all directions together.
_KERNEL_IN_SPACING = 1.5
# A function that kernels of that width hold with less of its size is mostly noise of the nodes.
_LEAST_SINGULAR = 0.3
# Part of a latent direction's variance that functions may leave out.
_LEAST_LEFT = 0.3
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

    def slopes(self) -> Tensor:
        """(m, k, q) derivatives of the functions by the latent, at the nodes."""
        places = self.nodes @ self.metric
        parts = []
        for some in self.nodes.split(LATENTS_AT_ONCE):
            weights = self.memberships(some)
            # Of a membership: itself times how far its node lies from the mean of all that are near.
            tilted = torch.einsum("nm,mk,mq->nkq", weights, self.combination, places)
            level, centre = weights @ self.combination, weights @ places
            parts.append((tilted - level[:, :, None] * centre[:, None]) / self.width**2)
        return torch.cat(parts) @ self.metric.T

    def kernel(self) -> Tensor:
        """(q, q) covariance of the particles around a node: wide enough that neighbours' kernels overlap."""
        apart = torch.cdist(self.nodes @ self.metric, self.nodes @ self.metric)
        nearest = apart.fill_diagonal_(float("inf")).amin(1).median() if len(apart) > 1 else self.width
        root = torch.linalg.inv(self.metric)
        return (_KERNEL_IN_SPACING * nearest) ** 2 / len(root) * (root.T @ root)

    def density(self) -> Tensor:
        """(m,) density of the particles at the nodes, up to a factor."""
        apart = torch.cdist(self.nodes @ self.metric, self.nodes @ self.metric)
        return torch.exp(-0.5 * (apart / self.width) ** 2).mean(1)

    def in_gauge(self, gauge: Gauge) -> Landscape:
        """The same landscape of latents in another gauge."""
        moved = gauge.latents(LatentPosterior(self.nodes, self.nodes.new_zeros(1, *self.metric.shape)))
        metric = torch.linalg.inv(gauge.transform).T @ self.metric
        return replace(self, nodes=moved.means, metric=metric)

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
    smooth = (vectors[:, 1 : kept + 1] / held.sqrt()[:, None]).float()
    found = _with_directions(
        replace(plain, combination=smooth, offset=means.new_zeros(kept)), means, most_functions
    )
    values_there = found.functions(means)
    scale = values_there.std(0).clamp(min=1e-12)
    # Contiguous, as a checkpoint gives it back: products of another layout round differently.
    combination = (found.combination / scale).contiguous()
    return replace(found, combination=combination, offset=values_there.mean(0) / scale)


def _with_directions(landscape: Landscape, latents: Tensor, most: int) -> Landscape:
    """The landscape with directions of the latents that its functions do not hold, in place of the roughest.

    The smoothest functions tell apart what lies far apart, some of it several times over, and may say
    nothing of two states that differ by little.
    """
    plain = replace(
        landscape, combination=landscape.nodes, offset=landscape.nodes.new_zeros(latents.shape[1])
    )
    linear = plain.functions(latents).double()
    linear = linear - linear.mean(0)
    total = linear.T @ linear
    values = landscape.functions(latents).double()
    root = torch.linalg.cholesky(total + 1e-9 * total.diagonal().mean() * torch.eye(len(total)).to(total))
    whiten = torch.linalg.inv(root).T
    for count in range(latents.shape[1] + 1):
        smooth = min(values.shape[1], most - count)
        if smooth < 1:
            break
        held = torch.cat([torch.ones_like(values[:, :1]), values[:, :smooth]], 1)
        fitted = torch.linalg.lstsq(held, linear).solution
        left = (linear - held @ fitted) @ whiten
        parts, directions = torch.linalg.eigh(left.T @ left)
        if int((parts > _LEAST_LEFT).sum()) <= count:
            chosen = (whiten @ directions.flip(1)[:, :count]).to(latents)
            rest = landscape.combination[:, :smooth] @ (fitted[1:].to(latents) @ chosen)
            more = landscape.nodes @ chosen - rest
            combination = torch.cat([landscape.combination[:, :smooth], more], 1)
            return replace(landscape, combination=combination, offset=latents.new_zeros(smooth + count))
    return landscape


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

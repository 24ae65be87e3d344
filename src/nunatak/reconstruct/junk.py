"""Junk: images that the map explains no better than noise, or something without a structure, does.

Ice, blobs of contamination and edges of the carbon film have power that the map's best pose explains in part,
so that noise alone is no rival for them. The rival is a random image of the particles' mean spectrum, times
one of a few strengths: it explains power wherever it lies, and no shape (theory eq. 20).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nunatak.core.gathered import Gathered
from nunatak.reconstruct.model import images_within
from nunatak.reconstruct.state import Context

STRENGTHS = (0.25, 1.0, 4.0, 16.0)
"""Of a random image's power, in units of the particles'; a blob of dirt is stronger than a molecule."""


def random_image_evidence(power: Tensor, counts: Tensor, noise_variance: Tensor, signal: Tensor) -> Tensor:
    """(n,) log evidence, against pure noise, of images that are noise and a random image.

    Parameters
    ----------
    power : (n, shells) float32
        |y|^2 summed over each shell.
    counts : (shells,)
        Samples in each.
    noise_variance, signal : (shells,) float32
        Mean |y|^2 of a sample's noise, and of what the particles add to it.
    """
    ratio = torch.tensor(STRENGTHS).to(signal)[:, None] * signal / noise_variance
    gain = (power / noise_variance) @ (ratio / (1 + ratio)).T - torch.log1p(ratio) @ counts.to(signal)
    return torch.logsumexp(gain, 1) - math.log(len(STRENGTHS))


def junk_probability(evidence: Tensor, context: Context, radius_px: int) -> Tensor:
    """(n,) probability that an image is noise, or noise and a random image, and not the molecule.

    Before looking, half of the images are expected to be the molecule, a quarter each of the others.

    Parameters
    ----------
    evidence : (n,) float32
        Log evidence of the molecule against pure noise, up to the radius.
    """
    cache, shells = context.cache, slice(1, radius_px + 1)
    noise = context.noise_variance[shells]  # what the evidence was taken with
    signal = (context.image_power[shells] - noise).clamp(min=0)
    gathered = Gathered(len(cache.samples))
    every = torch.arange(len(cache), device=context.device)
    for rows in cache.share.tiles(every, cache.tiles.local):
        images = images_within(cache, rows, radius_px)
        power = evidence.new_zeros(len(rows), radius_px + 1)
        power.index_add_(1, images.plane.shells, images.samples.abs() ** 2)
        counts = torch.bincount(images.plane.shells, minlength=radius_px + 1)[shells]
        rivals = random_image_evidence(power[:, shells], counts, noise, signal)
        gathered.put(cache.share.local(rows), rivals)
    (rival,) = cache.share.joined(gathered.columns())
    # Noise has an evidence of zero.
    return torch.sigmoid(torch.logaddexp(rival, torch.zeros_like(rival)) - math.log(2) - evidence)

"""Which images show a molecule at all, by their spectra alone: the others take no part in maps.

Ice, dirt and edges have no power where the molecule's detail is. As there are no maps to ask before the first
start, images are divided into classes by their power per shell, each a normal density with a spectrum of
its own, but that junk has noise alone beyond the lowest shells (docs/decisions/0019).
"""

from __future__ import annotations

import torch
from torch import Tensor

from nunatak.particles.cache import ImageCache

SHELLS = 20
LOWEST = 3
"""Shells that dirt and edges have power in as well."""
LEAST_SHARE = 0.06
"""Fewer images than this share are not worth the doubt: they may be the smallest state of an assembly."""
LEAST_SEPARATION = 6.0
"""Of molecules' mean power from junk's, in standard deviations of an image of noise: less is chance."""
_UPDATES = 60


def image_powers(cache: ImageCache, shells: int) -> Tensor:
    """(n, shells) power of every image summed over shells 1, 2, ..."""
    inside = cache.plane.shells <= shells
    places = cache.plane.shells[inside]
    powers, done = torch.zeros(len(cache.samples), shells + 1, device=places.device), 0
    for samples in cache.samples.split(cache.tiles.local):
        own = powers[done : done + len(samples)]
        own.index_add_(1, places, samples[:, inside].abs() ** 2)
        done += len(samples)
    return cache.share.joined(powers[:, 1:].contiguous())


def junk_by_spectrum(powers: Tensor, counts: Tensor, noise_variance: Tensor) -> Tensor:
    """(n,) probability of junk, by expectation-maximisation of it and two classes of molecules.

    Junk has no power but noise's beyond the lowest shells. The other two have spectra of their own, because
    views and defoci differ.

    Parameters
    ----------
    powers : (n, shells) float32
    counts : (shells,)
        Samples of an image in each shell.
    noise_variance : (shells,) float32
    """
    detail = (powers / noise_variance)[:, LOWEST:].sum(1)
    rank = detail.argsort().argsort().to(powers) / len(powers)
    shares = torch.softmax(-((rank[:, None] - rank.new_tensor([0.0, 0.5, 1.0])) ** 2) / 0.05, 1)
    number = counts.to(powers)
    for _ in range(_UPDATES):
        total = shares.sum(0).clamp(min=1e-6)
        spectra = torch.maximum((shares.T @ powers) / (total[:, None] * number), noise_variance)
        spectra[0, LOWEST:] = noise_variance[LOWEST:]
        fit = -(powers @ (1 / spectra).T) - spectra.log() @ number + (total / total.sum()).log()
        shares = torch.softmax(fit, 1)
    return shares[:, 0]


def sound_images(cache: ImageCache, noise_variance: Tensor) -> Tensor:
    """(n,) bool: images that maps are to be made from; all of them unless a class of junk stands out."""
    shells = min(SHELLS, int(cache.plane.radius_px))
    powers = image_powers(cache, shells)
    everyone = torch.ones(len(powers), dtype=torch.bool, device=powers.device)
    if shells <= 2 * LOWEST:
        return everyone
    counts = torch.bincount(cache.plane.shells, minlength=shells + 1)[1 : shells + 1]
    noise = noise_variance[1 : shells + 1]
    kept = junk_by_spectrum(powers, counts, noise) < 0.5
    if not LEAST_SHARE < 1 - float(kept.float().mean()) < 1 - LEAST_SHARE:
        return everyone
    excess = (powers[kept].mean(0) / counts / noise - 1)[LOWEST:].mean()
    apart = float(excess) * float(counts[LOWEST:].sum()) ** 0.5
    return kept if apart > LEAST_SEPARATION else everyone

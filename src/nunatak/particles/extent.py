"""How large the particles are, seen in the images themselves: where their power ends."""

from __future__ import annotations

import torch
from sklearn.isotonic import isotonic_regression
from torch import Tensor

from nunatak.core.fourier import images_from_samples
from nunatak.particles.cache import ImageCache

MOST_IMAGES = 10_000
LEAST_POWER = 0.01
"""Of the power at the particle's centre: what is weaker is its rim, or the CTF's fringes."""
# Standard deviations of the outermost rings' power that the least power must be.
_CERTAIN = 1.0
_MARGIN = 2 / 64
_OUTSIDE = 0.46
# Of a smaller one no ring lies outside for certain.
_LEAST_BOX_PX = 32
_AT_ONCE = 256


def power_by_ring(cache: ImageCache) -> Tensor:
    """(box // 2,) mean power of images times their CTF, as maps weigh them, per ring about their centre."""
    box_px, device = cache.plane.box_px, cache.samples.device
    every = torch.arange(0, len(cache), max(1, len(cache) // MOST_IMAGES), device=device)
    power = torch.zeros(box_px, box_px, device=device)
    for rows in cache.share.tiles(every, _AT_ONCE):
        here = cache.share.local(rows)
        images = images_from_samples(cache.samples[here] * cache.transfer[here], cache.plane)
        power += images.square().sum(0)
    power = cache.share.total(power)
    line = (torch.arange(box_px, device=device) - box_px // 2).float()
    rings = torch.hypot(line[:, None], line[None]).round().long().flatten().clamp(max=box_px // 2)
    total = power.new_zeros(box_px // 2 + 1).index_add(0, rings, power.flatten())
    return (total / torch.bincount(rings, minlength=len(total)))[:-1] / len(every)


def particle_radius(power: Tensor) -> float | None:
    """Radius of the particles as a fraction of the box, with a margin; None where the images do not show it.

    The power is taken to fall from the centre on (isotonic regression), so that a ring of noise far out, by
    itself above the least power, is no particle.

    Parameters
    ----------
    power : (box // 2,) from power_by_ring
    """
    box_px = 2 * len(power)
    if box_px < _LEAST_BOX_PX:
        return None
    outside = power[int(_OUTSIDE * box_px) :]
    excess = power / outside.mean() - 1
    centre = float(excess[: max(2, box_px // 16)].mean())
    noise = float(outside.std() / outside.mean())
    if not centre * LEAST_POWER > _CERTAIN * noise:
        return None
    pixels = torch.arange(len(power)).clamp(min=0.2)
    falling = isotonic_regression(excess.cpu().numpy(), sample_weight=pixels.numpy(), increasing=False)
    last = int((falling > LEAST_POWER * centre).nonzero()[0].max())
    return last / box_px + _MARGIN

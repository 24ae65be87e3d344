"""Wiener filtering that varies over the map: each place and band keeps what two half-maps share there.

A filter per shell weighs solvent and molecule alike. But noise fills the box, and a component of motion is
confined to what moves; weighed by the local correlation of half-maps, noise is removed where there is nothing
else (Cardone, Heymann & Steven 2013; in refinement: Punjani, Zhang & Fleet 2020; Ramlaul et al. 2020).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from nunatak.core.collective import ALONE, Group
from nunatak.core.fourier import fourier_map, real_map
from nunatak.volumes.maps import radius_grid

# A narrower window holds too few independent samples for a correlation.
_LEAST_WINDOW_PX = 2.0
# Standard deviation of the window over which correlation is taken, as a fraction of the box.
_WINDOW_FRACTION = 0.047
# Distance between bands, in Fourier pixels.
_BAND_PX = 5.0


def band_filters(box_px: int, radius_px: int, width_px: float, device: torch.device) -> Iterator[Tensor]:
    """(d, d, d) tent-shaped radial filters that add up to 1 inside the radius, to 0 beyond it."""
    radius = radius_grid(box_px, device)
    count = _band_count(radius_px, width_px)
    spacing = radius_px / count
    for band in range(count + 1):
        yield (1 - (radius / spacing - band).abs()).clamp(min=0) * (radius <= radius_px)


def _band_count(radius_px: int, width_px: float) -> int:
    """Bands beside the one about zero."""
    return max(1, round(radius_px / width_px))


def blurred(fields: Tensor, sigma_px: float) -> Tensor:
    """(..., d, d, d) fields after a Gaussian of unit sum."""
    radius = radius_grid(fields.shape[-1], fields.device) * (2 * torch.pi * sigma_px / fields.shape[-1])
    return real_map(fourier_map(fields) * torch.exp(-0.5 * radius**2))


def local_correlation(first: Tensor, second: Tensor, sigma_px: float) -> Tensor:
    """(..., d, d, d) correlation of two fields in a Gaussian window around each voxel, 0 to 1."""
    shared = blurred(first * second, sigma_px)
    power = blurred(0.5 * (first**2 + second**2), sigma_px)
    # Far from everything both are rounding errors of the transforms.
    floor = 1e-4 * power.amax((-3, -2, -1), keepdim=True) + 1e-30
    return (shared / torch.maximum(power, floor)).clamp(0, 1)


def locally_filtered(
    maps: Tensor,
    halves: Tensor,
    radius_px: int,
    whole: bool,
    power: int | Tensor = 1,
    group: Group = ALONE,
) -> Tensor:
    """Maps of which every place and band is weighed by the share of its power that is signal (theory eq. 13).

    Parameters
    ----------
    maps : (..., c, d, d, d)
        With no filter of their own, or one per shell.
    halves : (2, c, d, d, d)
        Half-maps, of which the local correlation F is taken.
    radius_px : int
        Fourier radius that the maps reach.
    whole : bool
        The maps are from all particles, of which C = 2 F / (1 + F) is signal (Rosenthal & Henderson 2003);
        else from one half, of which C = F is.
    power : int, or (c, 1, 1, 1) int64 of each map
        Maps are weighed by C to this power: 1 is Wiener's filter; 2 also removes what is left where there is
        nothing, because the F of a small window scatters about zero (docs/decisions/0010).
    group : Group
        Processes that share out the bands of all channels; all have the same maps.
    """
    box, channels = maps.shape[-1], maps.shape[-4]
    window_px = max(_LEAST_WINDOW_PX, _WINDOW_FRACTION * box)
    powers = torch.as_tensor(power, device=maps.device).expand(channels, 1, 1, 1)
    out = torch.zeros_like(maps)
    bands = _band_count(radius_px, _BAND_PX) + 1
    first, end = group.share_of(channels * bands).bounds
    # One channel at a time: transforms of all of them would be the largest thing in memory.
    for channel in range(first // bands, -(-end // bands)):
        transform, pair = fourier_map(maps[..., channel, :, :, :]), fourier_map(halves[:, channel])
        for band, pass_band in enumerate(band_filters(box, radius_px, _BAND_PX, maps.device)):
            if first <= channel * bands + band < end:
                one, other = real_map(pair * pass_band)
                f = local_correlation(one, other, window_px)
                weight = (2 * f / (1 + f) if whole else f) ** powers[channel]
                out[..., channel, :, :, :] += weight * real_map(transform * pass_band)
    return group.total(out)

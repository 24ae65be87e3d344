"""A trained volume compressed for search: a mean and a few components that stand for it at every latent.

    V(z) ~ mean + sum_j a_j(z) B_j        up to a Fourier radius

The field is rasterised at some latents, and the leading singular vectors of those maps are the components.
Coordinates a of other latents follow from the field's values at the few Fourier points where the components
are largest, by least squares; so a network is evaluated there, and never at a pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nunatak.core.fourier import fourier_map
from nunatak.volumes.field import VolumeField, half_ball

PROBES_PER_COMPONENT = 32
_LATENTS_AT_ONCE = 256


@dataclass(frozen=True)
class VolumeBank:
    """Maps that a field's maps are mixtures of.

    Attributes
    ----------
    maps : (1 + k, d, d, d) float32
        Mean, and orthonormal components by falling singular value.
    spread : (k,) float32
        Standard deviation of the coordinates over the latents that were rasterised.
    radius_px : int
    """

    maps: Tensor
    spread: Tensor
    radius_px: int

    @property
    def rank(self) -> int:
        """Number of components."""
        return len(self.maps) - 1

    def at(self, coordinates: Tensor) -> Tensor:
        """(d, d, d) map at (k,) coordinates."""
        return self.maps[0] + torch.tensordot(coordinates, self.maps[1:], 1)


def volume_bank(field: VolumeField, latents: Tensor, radius_px: int, rank: int) -> VolumeBank:
    """The bank of a field from its maps at (s, q) latents; of at most `rank` and s - 1 components."""
    maps = field.maps(latents, radius_px)
    mean = maps.mean(0)
    deviation = (maps - mean).flatten(1)
    gram = (deviation @ deviation.T).double()
    values, vectors = torch.linalg.eigh(gram)
    count = min(rank, len(latents) - 1)
    values, vectors = values.flip(0)[:count].clamp(min=0), vectors.flip(1)[:, :count]
    # What is left of maps in float32 after their mean is taken away is not a component.
    least = torch.maximum(1e-6 * values[:1].sum(), 1e-10 * maps.double().square().sum())
    told = values > least
    sizes, vectors = values[told].sqrt(), vectors[:, told]
    components = (vectors / sizes).T.float() @ deviation
    spread = sizes.float() / max(len(latents), 1) ** 0.5
    return VolumeBank(torch.cat([mean[None], components.view(-1, *mean.shape)]), spread, radius_px)


@torch.no_grad()
def bank_coordinates(bank: VolumeBank, field: VolumeField, latents: Tensor) -> Tensor:
    """(n, k) coordinates of the field's maps at (n, q) latents, by least squares at a few Fourier points."""
    if not bank.rank:
        return latents.new_zeros(len(latents), 0)
    frequencies = half_ball(bank.radius_px, latents.device)
    x, y, z = (frequencies + bank.maps.shape[-1] // 2).T
    values = fourier_map(bank.maps)[:, z, y, x]
    strength = (values[1:].abs() * bank.spread[:, None]).square().sum(0)
    probes = strength.topk(min(PROBES_PER_COMPONENT * bank.rank, len(strength))).indices
    points, mean = frequencies[probes], values[0, probes]
    solve = torch.linalg.pinv(_real(values[1:, probes]).T.double()).float()
    found = []
    for part in latents.split(_LATENTS_AT_ONCE):
        off = field.transform(points, part) - mean
        found.append(_real(off) @ solve.T)
    return torch.cat(found)


def _real(values: Tensor) -> Tensor:
    return torch.cat([values.real, values.imag], -1)

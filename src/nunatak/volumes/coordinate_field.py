"""A volume as a network of Fourier coordinates and a latent: cryoDRGN's decoder.

    F_V(k; z) = [H(k) + H(-k)] / 2 - i [H(k) - H(-k)] / 2,    H(k) = s(|k|) MLP( sin B k, cos B k, z )

H is the Hartley transform, a real number (Zhong et al. 2021); the features are Gaussian random Fourier
features (Tancik et al. 2020) with sd 0.5 times half the box as cryoDRGN-AI has them (Levy et al. 2025). Since
sines are odd and cosines even, the features and the first layer serve k and -k at once. Where poses are known
beforehand, so is the mean: the network is then what a volume differs from it by.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nunatak.core.device import bfloat16_products, is_host
from nunatak.projection.differentiable import mixed_slices
from nunatak.projection.slices import plane_points, sample_block
from nunatak.volumes.field import cut_to, half_ball, maps_from_half_ball, radial
from nunatak.volumes.field_config import CoordinateConfig, FieldShape
from nunatak.volumes.grid_field import GridField
from nunatak.volumes.networks import ResidualMLP

_POINTS_AT_ONCE = 2048
"""What the layers of so many points hold stays in a processor's caches; of more, every layer reads memory."""


class CoordinateField(nn.Module):
    """See the module; nunatak.volumes.field.VolumeField says what it offers.

    Parameters
    ----------
    amplitude : (shells,) float32
        s of the formula: how large the transform is expected to be, per rounded radius up to the field's.
    generator : torch.Generator
        On the CPU.
    mean : GridField, optional
        A map that the network is added to; it is not trained.
    """

    features: Tensor
    amplitude: Tensor

    def __init__(
        self,
        shape: FieldShape,
        config: CoordinateConfig,
        amplitude: Tensor,
        generator: torch.Generator,
        mean: GridField | None = None,
    ) -> None:
        super().__init__()
        self.shape, self._bfloat16 = shape, config.bfloat16
        count = 3 * config.features_per_axis
        drawn = torch.randn(count, 3, generator=generator).to(amplitude.device)
        # Coordinates are k / box and the frequencies are scaled by half the box.
        self.register_buffer("features", 0.5 * config.feature_sd * drawn)
        self.register_buffer("amplitude", amplitude.clone())
        self.network = ResidualMLP(2 * count + shape.latent_dim, config.width, config.layers, 1, generator)
        self.mean = mean
        self._mean_block: Tensor | None = None
        if mean is not None:
            mean.requires_grad_(False)
            with torch.no_grad():
                self.network.last.weight.zero_()
                self.network.last.bias.zero_()

    def begin_with(self, maps: Tensor) -> None:
        """Take the first of (k, d, d, d) maps as the mean.

        Raises
        ------
        TypeError
            The network is added to nothing.
        """
        if self.mean is None:
            raise TypeError("this network is not added to a mean")
        self.mean.begin_with(maps[:1])
        self._mean_block = None

    def _block(self, mean: GridField) -> Tensor:
        if self._mean_block is None:
            self._mean_block = mean.block()
        return self._mean_block

    def at(self, points: Tensor, latents: Tensor) -> Tensor:
        """(b, n) complex64; see VolumeField."""
        found = self._network_at(points, latents)
        if self.mean is None:
            return found
        known = sample_block(self._block(self.mean), points, 2)[..., 0]
        return found + known * radial(self.mean.amplitude, points)

    def _network_at(self, points: Tensor, latents: Tensor) -> Tensor:
        at_once = max(1, _POINTS_AT_ONCE // points.shape[1]) if is_host(points.device) else len(points)
        parts = zip(points.split(at_once), latents.split(at_once), strict=True)
        return torch.cat([self._at(*part) for part in parts])

    def _at(self, points: Tensor, latents: Tensor) -> Tensor:
        # Phases are tens of radians: they stay in float32.
        phase = points @ self.features.T
        waves = torch.cos(phase), torch.sin(phase)
        coarse = self._bfloat16 and torch.is_grad_enabled()
        with bfloat16_products(points.device, coarse):
            even, odd, offset = self._first_layer(waves, latents)
            here = self.network.after_first(even + odd + offset)[..., 0]
            mate = self.network.after_first(even - odd + offset)[..., 0]
        here, mate = here.float(), mate.float()
        size = 0.5 * radial(self.amplitude, points)
        return torch.complex(size * (here + mate), size * (mate - here))

    def _first_layer(self, waves: tuple[Tensor, Tensor], latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What cosines, sines and the latent bring to the first layer."""
        count, layer = len(self.features), self.network.first
        even = waves[0] @ layer.weight[:, count : 2 * count].T
        odd = waves[1] @ layer.weight[:, :count].T
        offset = latents @ layer.weight[:, 2 * count :].T + layer.bias
        return even, odd, offset[:, None]

    def slices(self, rotations: Tensor, frequencies: Tensor, latents: Tensor) -> Tensor:
        """(b, n) complex64; see VolumeField."""
        found = self._network_at(plane_points(rotations, frequencies), latents)
        if self.mean is None:
            return found
        alone = latents.new_ones(len(latents), 1)
        known = mixed_slices(self._block(self.mean), rotations, frequencies, alone)
        return found + known * radial(self.mean.amplitude, frequencies.to(self.amplitude.dtype))

    def transform(self, frequencies: Tensor, latents: Tensor) -> Tensor:
        """(b, n) complex64; see VolumeField."""
        found = self._network_at(frequencies.to(latents.dtype).expand(len(latents), -1, -1), latents)
        return found if self.mean is None else found + self.mean.transform(frequencies, latents[:, :0])

    @torch.no_grad()
    def maps(self, latents: Tensor, radius_px: int | None = None) -> Tensor:
        """(b, d, d, d) float32; see VolumeField."""
        shape = cut_to(self.shape, radius_px)
        frequencies = half_ball(shape.radius_px, latents.device)
        points = frequencies.to(latents.dtype)
        at_once = _POINTS_AT_ONCE if is_host(points.device) else 16 * _POINTS_AT_ONCE
        samples = [
            torch.cat([self._network_at(part[None], z[None])[0] for part in points.split(at_once)])
            for z in latents
        ]
        found = maps_from_half_ball(torch.stack(samples), frequencies, shape.box_px)
        return found if self.mean is None else found + self.mean.components(radius_px)[0]

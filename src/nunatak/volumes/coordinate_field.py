"""A volume as a network of Fourier coordinates and a latent: cryoDRGN's decoder.

    F_V(k; z) = [H(k) + H(-k)] / 2 - i [H(k) - H(-k)] / 2,    H(k) = s(|k|) MLP( sin B k, cos B k, z )

H is the Hartley transform, a real number (Zhong et al. 2021); the features are Gaussian random Fourier
features (Tancik et al. 2020) with sd 0.5 times half the box as cryoDRGN-AI has them (Levy et al. 2025). Since
sines are odd and cosines even, the features and the first layer serve k and -k at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nunatak.core.device import is_host
from nunatak.projection.slices import plane_points
from nunatak.volumes.field import cut_to, half_ball, maps_from_half_ball, radial
from nunatak.volumes.field_config import CoordinateConfig, FieldShape
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
    """

    features: Tensor
    amplitude: Tensor

    def __init__(
        self, shape: FieldShape, config: CoordinateConfig, amplitude: Tensor, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.shape = shape
        count = 3 * config.features_per_axis
        drawn = torch.randn(count, 3, generator=generator).to(amplitude.device)
        # Coordinates are k / box and the frequencies are scaled by half the box.
        self.register_buffer("features", 0.5 * config.feature_sd * drawn)
        self.register_buffer("amplitude", amplitude.clone())
        self.network = ResidualMLP(2 * count + shape.latent_dim, config.width, config.layers, 1, generator)

    def at(self, points: Tensor, latents: Tensor) -> Tensor:
        """(b, n) complex64; see VolumeField."""
        at_once = max(1, _POINTS_AT_ONCE // points.shape[1]) if is_host(points.device) else len(points)
        parts = zip(points.split(at_once), latents.split(at_once), strict=True)
        return torch.cat([self._at(*part) for part in parts])

    def _at(self, points: Tensor, latents: Tensor) -> Tensor:
        even, odd, offset = self._first_layer(points, latents)
        here = self.network.after_first(even + odd + offset)[..., 0]
        mate = self.network.after_first(even - odd + offset)[..., 0]
        size = 0.5 * radial(self.amplitude, points)
        return torch.complex(size * (here + mate), size * (mate - here))

    def _first_layer(self, points: Tensor, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What cosines, sines and the latent bring to the first layer."""
        count, layer = len(self.features), self.network.first
        phase = points @ self.features.T
        even = torch.cos(phase) @ layer.weight[:, count : 2 * count].T
        odd = torch.sin(phase) @ layer.weight[:, :count].T
        offset = latents @ layer.weight[:, 2 * count :].T + layer.bias
        return even, odd, offset[:, None]

    def slices(self, rotations: Tensor, frequencies: Tensor, latents: Tensor) -> Tensor:
        """(b, n) complex64; see VolumeField."""
        return self.at(plane_points(rotations, frequencies), latents)

    def transform(self, frequencies: Tensor, latents: Tensor) -> Tensor:
        """(b, n) complex64; see VolumeField."""
        return self.at(frequencies.to(latents.dtype).expand(len(latents), -1, -1), latents)

    @torch.no_grad()
    def maps(self, latents: Tensor, radius_px: int | None = None) -> Tensor:
        """(b, d, d, d) float32; see VolumeField."""
        shape = cut_to(self.shape, radius_px)
        frequencies = half_ball(shape.radius_px, latents.device)
        points = frequencies.to(latents.dtype)
        at_once = _POINTS_AT_ONCE if is_host(points.device) else 16 * _POINTS_AT_ONCE
        samples = [
            torch.cat([self.at(part[None], z[None])[0] for part in points.split(at_once)]) for z in latents
        ]
        return maps_from_half_ball(torch.stack(samples), frequencies, shape.box_px)

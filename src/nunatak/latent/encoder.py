"""Amortised latents: a network from an image to the mean and log variance of its latent (cryoDRGN).

The image comes centred, multiplied by its CTF and weighted by how much each ring can say, so that the
network need not learn either; in Fourier space, where that is a product (Zhong et al. 2021, there with a
Hartley transform).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nunatak.latent.encoder_config import EncoderConfig
from nunatak.volumes.networks import ResidualMLP


class Encoder(nn.Module):
    """(b, 2 n) real features of images to (b, q) latent means and (b, q) log variances.

    Parameters
    ----------
    inputs : int
        Number of features.
    generator : torch.Generator
        On the CPU.
    """

    def __init__(
        self, inputs: int, latent_dim: int, config: EncoderConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.network = ResidualMLP(inputs, config.width, config.layers, 2 * latent_dim, generator)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, (b, q) each."""
        mean, log_variance = self.network(features).split(self.latent_dim, 1)
        return mean, log_variance


def image_features(centred: Tensor, transfer: Tensor, signal: Tensor) -> Tensor:
    """(b, 2 n) real features of whitened images: Wiener filtered, of unit mean square on the whole.

    Parameters
    ----------
    centred, transfer : (b, n) complex64 and float32
        Images moved to their centre and their CTF, both over the noise's standard deviation.
    signal : (n,) float32
        Expected |slice|^2 at each sample.
    """
    filtered = centred * (transfer * signal / (1 + transfer**2 * signal))
    scale = filtered.abs().square().mean(1, keepdim=True).clamp(min=1e-20).rsqrt()
    return torch.view_as_real(filtered * scale).flatten(1) * 2**0.5


def divergence_from_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """(b,) Kullback-Leibler divergence of N(mean, exp(log variance)) from N(0, I) (Kingma & Welling 2014)."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)

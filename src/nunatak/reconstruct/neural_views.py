"""Images as a trained volume meets them, whitened and centred; the losses; all pure functions of tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nunatak.latent.encoder import Encoder, divergence_from_prior
from nunatak.particles.cache import ImageCache
from nunatak.reconstruct.model import images_within
from nunatak.search.candidates import ImageSamples
from nunatak.volumes.field import VolumeField

LOG_VARIANCE_RANGE = (-12.0, 6.0)
_LEAST_AMPLITUDE = 0.1


@dataclass(frozen=True)
class WhiteImages:
    """b images over the noise's standard deviation, as they lie.

    Attributes
    ----------
    samples : (b, m) complex64
    transfer : (b, m) float32
    frequencies : (m, 2) float32
        In Fourier pixels.
    box_px : int
    """

    samples: Tensor
    transfer: Tensor
    frequencies: Tensor
    box_px: int

    def centred(self, shifts_px: Tensor) -> Tensor:
        """(b, m) samples of the images moved by (b, 2) shifts (convention 3), differentiable in these."""
        angle = (-2 * torch.pi / self.box_px) * (shifts_px @ self.frequencies.T)
        return self.samples * torch.polar(torch.ones_like(angle), angle)

    def within(self, radius_px: int) -> WhiteImages:
        """The same images inside a smaller Fourier radius."""
        count = int((self.frequencies.square().sum(1) <= radius_px**2 + 0.5).sum())
        return replace(
            self,
            samples=self.samples[:, :count],
            transfer=self.transfer[:, :count],
            frequencies=self.frequencies[:count],
        )


def white_images(cache: ImageCache, rows: Tensor, radius_px: int, noise_variance: Tensor) -> WhiteImages:
    """Some images within a radius, whitened by (shells,) noise variances."""
    images: ImageSamples = images_within(cache, rows, radius_px)
    scale = noise_variance[images.plane.shells].rsqrt()
    frequencies = images.plane.frequencies.float()
    return WhiteImages(images.samples * scale, images.transfer * scale, frequencies, images.plane.box_px)


def signal_power(cache: ImageCache, noise_variance: Tensor, image_power: Tensor) -> Tensor:
    """(shells,) expected |slice|^2: what the images have more power than noise, over that of their CTFs."""
    shells = cache.plane.shells
    squares = image_power.new_zeros(len(shells))
    for part in cache.transfer.split(4096):
        squares += (part**2).sum(0)
    total = image_power.new_zeros(len(image_power)).index_add_(
        0, shells, cache.share.total(squares) / len(cache)
    )
    transfer_power = total / torch.bincount(shells, minlength=len(total)).clamp(min=1)
    transfer_power[0] = transfer_power[1]
    return (image_power - noise_variance).clamp(min=0) / transfer_power.clamp(min=0.05)


def expected_amplitude(signal: Tensor, noise_variance: Tensor) -> Tensor:
    """(shells,) size that a volume's transform is given to start with; never so small that it cannot grow."""
    return torch.maximum(signal.sqrt(), _LEAST_AMPLITUDE * noise_variance.sqrt())


def misfit(centred: Tensor, transfer: Tensor, slices: Tensor) -> Tensor:
    """(b,) sum |x - c S|^2 over the half-plane: minus the log likelihood (convention 7) of white images."""
    return (centred - transfer * slices).abs().square().sum(1)


def drawn_latents(mean: Tensor, log_variance: Tensor, generator: torch.Generator) -> Tensor:
    """(b, q) one draw from each posterior; random numbers come from the CPU, so every device has the same."""
    draw = torch.randn(mean.shape, generator=generator).to(mean.device)
    return mean + draw * (0.5 * log_variance).exp()


def encoded(encoder: Encoder, features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log variance of latents; the latter within bounds that an exponential survives."""
    mean, log_variance = encoder(features)
    return mean, log_variance.clamp(*LOG_VARIANCE_RANGE)


@dataclass(frozen=True)
class Terms:
    """(b,) terms of a loss, and the loss itself.

    Attributes
    ----------
    loss : scalar
    misfit, divergence : (b,)
    """

    loss: Tensor
    misfit: Tensor
    divergence: Tensor


def evidence_bound(misfits: Tensor, divergence: Tensor, beta: float) -> Terms:
    """The loss of a variational autoencoder: misfit plus beta times divergence, mean over images."""
    return Terms((misfits + beta * divergence).mean(), misfits, divergence)


def autoencoder_loss(
    networks: tuple[VolumeField, Encoder],
    images: tuple[Tensor, Tensor],
    poses: tuple[Tensor, Tensor],
    features: Tensor,
    beta: float,
    generator: torch.Generator,
) -> Terms:
    """Misfit of images with the volume at latents drawn from what the encoder says of them.

    Parameters
    ----------
    networks : decoder, encoder
    images : (b, m) centred, and transfer, both whitened
    poses : (b, 3, 3) rotations and (m, 2) frequencies
    features : (b, f)
        What the encoder sees.
    """
    decoder, encoder = networks
    mean, log_variance = encoded(encoder, features)
    latents = drawn_latents(mean, log_variance, generator)
    off = misfit(*images, decoder.slices(*poses, latents))
    return evidence_bound(off, divergence_from_prior(mean, log_variance), beta)

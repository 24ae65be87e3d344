"""Sizes of trainable volumes: no more than numbers, quick to import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FieldShape:
    """What every field needs to know.

    Attributes
    ----------
    box_px : int
        Box of its maps.
    radius_px : int
        Fourier radius it describes; it is zero beyond. Less than half the box.
    latent_dim : int
    """

    box_px: int
    radius_px: int
    latent_dim: int


@dataclass(frozen=True)
class CoordinateConfig:
    """Sizes of a network of coordinates; the published ones of cryoDRGN-AI are the defaults.

    Attributes
    ----------
    features_per_axis : int
        A third of the number of random frequencies; each gives a sine and a cosine.
    feature_sd : float
        Standard deviation of the random frequencies: with coordinates in [-1/2, 1/2] times half the box, so
        that a feature reaches feature_sd / (4 pi) of a box from the centre.
    width, layers : int
        Of the residual perceptron.
    on_mean : bool
        The network is added to a map that is known beforehand, and begins as nothing.
    bfloat16 : bool
        Layers multiply in bfloat16 while gradients are wanted; maps and scores are made in float32.
    """

    features_per_axis: int = 64
    feature_sd: float = 0.5
    width: int = 256
    layers: int = 3
    on_mean: bool = False
    bfloat16: bool = False


@dataclass(frozen=True)
class GridConfig:
    """Sizes of a few maps that a network of the latent mixes.

    Attributes
    ----------
    rank : int
        Number of maps beside the mean, at least that of the latents; with no latents there are none.
    width, layers : int
        Of the network that mixes them.
    mask_radius_fraction : float
        Of the box: density is zero outside.
    """

    rank: int = 8
    width: int = 64
    layers: int = 1
    mask_radius_fraction: float = 0.42

"""Sizes of encoders of poses: no more than numbers, quick to import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PoseEncoderConfig:
    """Sizes of an encoder of poses.

    Attributes
    ----------
    channels : int
        Of its first convolutions; each later level has twice as many, at half the size.
    levels : int
        Of two convolutions each.
    width, layers : int
        Of the residual perceptron behind them.
    radius_px : int
        Fourier radius of the images that it sees.
    """

    channels: int = 16
    levels: int = 2
    width: int = 256
    layers: int = 1
    radius_px: int = 8

"""Sizes of encoders: no more than numbers, quick to import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of an encoder; those of cryoDRGN2 are the defaults.

    Attributes
    ----------
    width, layers : int
        Of its residual perceptron.
    """

    width: int = 256
    layers: int = 3

"""Parameters of the recipes that train a volume by gradients: their published names and defaults, once."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from nunatak.latent.encoder import EncoderConfig
from nunatak.volumes.coordinate_field import CoordinateConfig
from nunatak.volumes.grid_field import GridConfig

_NETWORK, _GRID, _ENCODER = CoordinateConfig(), GridConfig(), EncoderConfig()


class TrainingParameters(BaseModel):
    """What a trained volume is made of and how it is trained; other recipes do not read these."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decoder: Literal["network", "grid"] = Field(
        "network",
        description="The trained volume: a network of coordinates (cryoDRGN), or a few maps mixed by one.",
    )
    decoder_width: int = Field(_NETWORK.width, ge=1, description="Width of the network of coordinates.")
    decoder_layers: int = Field(_NETWORK.layers, ge=0, description="Its residual layers.")
    decoder_rank: int = Field(_GRID.rank, ge=1, description="Maps of the grid beside their mean.")
    encoder_width: int = Field(_ENCODER.width, ge=1, description="Width of the encoder.")
    encoder_layers: int = Field(_ENCODER.layers, ge=0, description="Its residual layers.")
    epochs: int = Field(20, ge=1, description="Passes over all images with latents and volume trained.")
    batch: int = Field(0, ge=0, description="Images per step; 0 is what suits the decoder.")
    learning_rate: float = Field(1e-3, gt=0, description="Of networks, at the first step.")
    beta: float | None = Field(
        None, ge=0, description="Weight of the latents' divergence; by default one over their number."
    )

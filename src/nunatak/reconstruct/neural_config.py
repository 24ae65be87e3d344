"""Parameters of the recipes that train a volume by gradients: their published names and defaults, once."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from nunatak.latent.encoder_config import EncoderConfig
from nunatak.search.pose_encoder_config import PoseEncoderConfig
from nunatak.volumes.field_config import CoordinateConfig, GridConfig

_NETWORK, _GRID, _ENCODER, _POSING = CoordinateConfig(), GridConfig(), EncoderConfig(), PoseEncoderConfig()


class TrainingParameters(BaseModel):
    """What a trained volume is made of and how it is trained; other recipes do not read these."""

    decoder: Literal["network", "grid"] = Field(
        "network",
        description="The trained volume: a network of coordinates (cryoDRGN), or a few maps mixed by one.",
    )
    decoder_width: int = Field(_NETWORK.width, ge=1, description="Width of the network of coordinates.")
    decoder_layers: int = Field(_NETWORK.layers, ge=0, description="Its residual layers.")
    decoder_rank: int = Field(_GRID.rank, ge=1, description="Maps of the grid beside their mean.")
    encoder: Literal["placed", "image"] = Field(
        "placed",
        description="What an encoder sees: residuals in the molecule's frame, at given poses; or images.",
    )
    encoder_width: int = Field(_ENCODER.width, ge=1, description="Width of the encoder.")
    encoder_layers: int = Field(_ENCODER.layers, ge=0, description="Its residual layers.")
    encoder_levels: int = Field(
        _POSING.levels, ge=0, le=5, description="Pairs of convolutions of an encoder of poses; 0: none."
    )
    encoder_channels: int = Field(
        _POSING.channels, ge=1, description="Channels of the first pair; each further one has twice as many."
    )
    encoder_radius_px: int = Field(
        _POSING.radius_px,
        ge=2,
        description="Fourier radius of what an encoder of poses sees, Fourier pixels.",
    )
    plane_copies: int = Field(
        2,
        ge=1,
        le=64,
        description="Turns of an image in its plane that poses are encoded from; 2 as published.",
    )
    self_images: float = Field(
        1.0,
        ge=0,
        description="Weight of views of the volume itself in an encoder of poses' training; 0: none.",
    )
    encoder_images: int = Field(
        5000,
        ge=0,
        description="A pass shows an encoder of poses so many images at least, few ones repeatedly.",
    )
    self_passes: int = Field(
        5, ge=0, description="Passes in which such an encoder learns from views of the first volume alone."
    )
    polish_epochs: int = Field(
        20,
        ge=0,
        description="Passes of gradients on the poses that an encoder gave; 0 leaves them as they are.",
    )
    epochs: int = Field(20, ge=1, description="Passes over all images with volume and latents trained.")
    batch: int = Field(0, ge=0, description="Images per step; 0 is what suits the decoder.")
    learning_rate: float = Field(
        1e-3, gt=0, description="Of networks at the first step; it falls to a hundredth along a cosine."
    )
    beta: float | None = Field(
        None, ge=0, description="Weight of the latents' divergence; by default one over their number."
    )
    first_volume: Literal["starts", "random"] = Field(
        "starts",
        description="What a trained volume that finds poses begins with: the map of the best random start; "
        "or, as published, images in random poses.",
    )
    pretrain_images: int = Field(
        10_000,
        ge=0,
        description="Images in random poses that a volume is pretrained on; few ones repeatedly.",
    )
    search_images: int = Field(
        150_000, ge=0, description="Images searched before gradients take over; twice all images at least."
    )
    search_every: int = Field(5, ge=1, description="Of so many passes, one searches poses (cryodrgn2).")
    pose_learning_rate: float = Field(
        1e-2, gt=0, description="Of the pose table in radians a visit; shifts move as far at half the box."
    )
    latent_learning_rate: float = Field(
        0.25, gt=0, description="Of the latent table, a visit: as far as published settings move it an epoch."
    )
    bank_latents: int = Field(32, ge=2, description="Latents at which a volume is rasterised for search.")
    bank_rank: int = Field(12, ge=0, description="Components that the rasterised volumes are reduced to.")
    bank_cell: int = Field(64, ge=1, description="Images with nearly the same volume, searched together.")

"""Trained volume and encoder as plain tensors between passes, and as modules within one.

What a checkpoint keeps is a dictionary of parameters and of the optimiser's moments. Modules are made anew
for each pass from the configuration and filled, so that nothing else can hold state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nunatak.latent.encoder import Encoder, EncoderConfig
from nunatak.reconstruct.config import EngineConfig
from nunatak.volumes.coordinate_field import CoordinateConfig, CoordinateField
from nunatak.volumes.field import FieldShape, VolumeField
from nunatak.volumes.grid_field import GridConfig, GridField

BETAS = (0.9, 0.99)
# Voxels of a grid are of unit size, weights of a network a tenth of that; and no voxel has many images.
VOXEL_RATE = 30.0
BATCHES = {"network": 32, "grid": 128}


def new_field(
    config: EngineConfig,
    shape: FieldShape,
    amplitude: Tensor,
    mask_radius_fraction: float,
    generator: torch.Generator,
) -> CoordinateField | GridField:
    """The decoder that a configuration asks for, untrained."""
    if config.decoder == "grid":
        grid = GridConfig(rank=config.decoder_rank, mask_radius_fraction=mask_radius_fraction)
        return GridField(shape, grid, amplitude, generator)
    network = CoordinateConfig(width=config.decoder_width, layers=config.decoder_layers)
    return CoordinateField(shape, network, amplitude, generator)


def batch_size(config: EngineConfig) -> int:
    """Images per step: a grid is transformed once a step, a network costs the same for every image."""
    return config.batch or BATCHES[config.decoder]

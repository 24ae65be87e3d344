"""What small errors of pose and contrast do to a map: directions in which images differ without a motion."""

from __future__ import annotations

import torch
from torch import Tensor

from nunatak.core.fourier import fourier_map, real_map
from nunatak.volumes.maps import radius_grid


def nuisance_maps(mean: Tensor, radius_px: int, bands: int = 3) -> Tensor:
    """(6 + bands, d, d, d) derivatives of a map by shifts and turns, and the map itself band by band.

    Poses that are off by a little add multiples of the first six to an image's volume; contrast, envelope and
    errors of defocus add multiples of the others.

    Parameters
    ----------
    mean : (d, d, d)
    radius_px : int
        Fourier radius that the bands share out.
    """
    box, device = mean.shape[-1], mean.device
    axis = torch.arange(box, device=device, dtype=mean.dtype) - box // 2
    transform = fourier_map(mean)
    wave = 2j * torch.pi * axis / box
    slopes = [real_map(transform * wave.reshape(shape)) for shape in ((-1, 1, 1), (1, -1, 1), (1, 1, -1))]
    dz, dy, dx = slopes
    z, y, x = axis[:, None, None], axis[None, :, None], axis[None, None]
    turns = [y * dz - z * dy, z * dx - x * dz, x * dy - y * dx]
    spacing = radius_px / max(bands - 1, 1)
    distance = radius_grid(box, device) / spacing
    parts = [real_map(transform * (1 - (distance - band).abs()).clamp(min=0)) for band in range(bands)]
    return torch.stack([*slopes, *turns, *parts])

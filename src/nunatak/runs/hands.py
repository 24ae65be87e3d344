"""The other hand of maps (convention 8)."""

from __future__ import annotations

import torch
from torch import Tensor


def inverted(maps: Tensor) -> Tensor:
    """Maps mirrored through the origin voxel d // 2: the other hand."""
    flipped = maps.flip((-3, -2, -1))
    even = maps.shape[-1] % 2 == 0
    return torch.roll(flipped, (1, 1, 1), (-3, -2, -1)) if even else flipped

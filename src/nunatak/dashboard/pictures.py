"""Particle images as a person can look at them."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

SMOOTHING_OF_BOX = 1 / 64
"""Width of the blur: single pixels of a particle image are noise."""
STRETCH = (1.0, 99.0)
"""Percentiles that become black and white."""


def particle_png(image: NDArray, size_px: int) -> bytes:
    """A (d, d) particle image, blurred and stretched, as an 8-bit PNG of a size."""
    smooth = gaussian_filter(np.asarray(image, np.float32), len(image) * SMOOTHING_OF_BOX)
    low, high = np.percentile(smooth, STRETCH)
    grey = np.clip((smooth - low) / max(float(high - low), 1e-12), 0, 1)
    picture = Image.fromarray((grey * 255).astype(np.uint8)).resize(
        (size_px, size_px), Image.Resampling.BICUBIC
    )
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()

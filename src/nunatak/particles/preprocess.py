"""Images on one footing: background at zero without a ramp, background noise at one, protein bright."""

from __future__ import annotations

import numpy as np

# A circle larger than the inscribed one still leaves the corners: a fifth of the image.
_LARGEST_CIRCLE = 0.5
_FLAT = 1e-6


def normalise(images: np.ndarray, sign: int, circle_radius_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Subtract the background's mean and linear ramp, divide by its standard deviation, apply the sign.

    Background is what lies outside a circle about the image centre; the circle is cut to the inscribed one.
    Where the background alone is constant (images that were masked), the whole image's standard deviation is
    taken.

    Parameters
    ----------
    images : (n, box, box) float
    sign : int
        +1 where protein is bright, -1 where it is dark.
    circle_radius_px : float

    Returns
    -------
    (n, box, box) float32 images, and (n,) bool: the image was constant and is now zero
    """
    count, box = len(images), images.shape[-1]
    axis = np.arange(box, dtype=np.float32) - box // 2
    y, x = (part.reshape(-1) for part in np.meshgrid(axis, axis, indexing="ij"))
    outside = np.hypot(x, y) > min(circle_radius_px, _LARGEST_CIRCLE * box)
    plane = np.stack([np.ones_like(x), x / box, y / box])
    flat = np.asarray(images, np.float32).reshape(count, box * box)
    # Taking the mean away first keeps the digits of images on a large pedestal.
    centred = flat - flat.mean(1, keepdims=True, dtype=np.float64).astype(np.float32)
    coefficients = centred[:, outside] @ np.linalg.pinv(plane[:, outside]).astype(np.float32)
    centred -= coefficients @ plane
    whole, background = centred.std(1), centred[:, outside].std(1)
    constant = whole <= _FLAT * np.abs(flat).max(1, initial=0)
    scale = np.where(background > _FLAT * whole, background, whole)
    centred *= np.where(constant, 0, sign / np.where(constant, 1, scale)).astype(np.float32)[:, None]
    return centred.reshape(images.shape), constant

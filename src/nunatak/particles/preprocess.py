"""Images on one footing: background at zero without a ramp, background noise at one, protein bright."""

from __future__ import annotations

import torch
from torch import Tensor

# A circle larger than the inscribed one still leaves the corners: a fifth of the image.
_LARGEST_CIRCLE = 0.5
_FLAT = 1e-6


def normalise(images: Tensor, sign: int, circle_radius_px: float) -> tuple[Tensor, Tensor]:
    """Subtract the background's mean and linear ramp, divide by its standard deviation, apply the sign.

    Background is what lies outside a circle about the image centre; the circle is cut to the inscribed one.
    Where the background alone is constant (images that were masked), the whole image's standard deviation is
    taken.

    Parameters
    ----------
    images : (n, box, box) float32
    sign : int
        +1 where protein is bright, -1 where it is dark.
    circle_radius_px : float

    Returns
    -------
    (n, box, box) float32 images, and (n,) bool: the image was constant and is now zero
    """
    count, box = len(images), images.shape[-1]
    axis = torch.arange(box, dtype=torch.float32, device=images.device) - box // 2
    y, x = (part.reshape(-1) for part in torch.meshgrid(axis, axis, indexing="ij"))
    outside = torch.hypot(x, y) > min(circle_radius_px, _LARGEST_CIRCLE * box)
    plane = torch.stack([torch.ones_like(x), x / box, y / box])
    flat = images.reshape(count, box * box)
    largest = flat.abs().amax(1)
    # Taking the mean away first keeps the digits of images on a large pedestal.
    centred = flat - flat.mean(1, keepdim=True, dtype=torch.float64).float()
    coefficients = centred[:, outside] @ torch.linalg.pinv(plane[:, outside])
    centred -= coefficients @ plane
    whole, background = _deviation(centred), _deviation(centred[:, outside])
    constant = whole <= _FLAT * largest
    scale = torch.where(background > _FLAT * whole, background, whole)
    centred *= torch.where(constant, 0.0, sign / torch.where(constant, 1.0, scale))[:, None]
    return centred.view(images.shape), constant


def _deviation(values: Tensor) -> Tensor:
    """(n,) standard deviation of (n, m) values; no warning where there are no rows."""
    return (values - values.mean(1, keepdim=True)).square().mean(1).sqrt()

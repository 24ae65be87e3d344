"""The trained volume of a run: how it lies in model.safetensors beside the linear maps; maps made with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nunatak.latent.gauge import ungauged
from nunatak.latent.subspace import Gauge
from nunatak.volumes.making import TrainableField, field_with, plan_from_text
from nunatak.volumes.maps import change_box, mirrored

PLAN, FLIPPED = "decoder_plan", "decoder_flipped"
_NUMBERS, _CENTRE, _TRANSFORM = "decoder.", "latent_centre", "latent_transform"


def stored_volume(decoder: Mapping[str, Any], flip_hand: bool) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a trained volume, from what a run's last state keeps under "decoder"."""
    tensors = {_NUMBERS + name: numbers.contiguous() for name, numbers in decoder["parameters"].items()}
    tensors |= {_CENTRE: decoder["centre"].contiguous(), _TRANSFORM: decoder["transform"].contiguous()}
    return tensors, {PLAN: decoder["plan"], FLIPPED: str(int(flip_hand))}


class TrainedVolume:
    """V(z) of a network or of mixed maps, for latents as they are written.

    Parameters
    ----------
    tensors, metadata : from stored_volume
    box_px : int
        Of the maps to make.

    Raises
    ------
    InputError
        They are not those of a trained volume.
    """

    def __init__(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], box_px: int) -> None:
        numbers = {n.removeprefix(_NUMBERS): t for n, t in tensors.items() if n.startswith(_NUMBERS)}
        self._field: TrainableField = field_with(plan_from_text(metadata[PLAN]), numbers)
        self._gauge = Gauge(tensors[_CENTRE], tensors[_TRANSFORM])
        self._flipped = metadata.get(FLIPPED) == "1"
        self._box_px = box_px

    def at(self, latent: NDArray) -> NDArray[np.float32]:
        """(d, d, d) map at a (q,) position."""
        position = torch.from_numpy(np.asarray(latent, np.float32))[None]
        volume = change_box(self._field.maps(ungauged(position, self._gauge)), self._box_px)[0]
        return (mirrored(volume) if self._flipped else volume).numpy()

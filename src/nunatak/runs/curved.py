"""The curved landscape of a run: how it lies in model.safetensors beside the linear maps; maps from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nunatak.latent.landscape import Landscape
from nunatak.volumes.maps import change_box

WIDTH = "landscape_width"
_PARTS = ("nodes", "metric", "combination", "offset")
_MAPS, _HALVES = "landscape.maps", "landscape.halves"


def stored_landscape(
    kept: Mapping[str, Any], hand: Callable[[Tensor], Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a landscape, from what a run's last state keeps of it.

    Parameters
    ----------
    hand : function of maps
        Mirrors them where the other hand was asked for.
    """
    landscape = kept["landscape"]
    tensors = {f"landscape.{name}": getattr(landscape, name).contiguous() for name in _PARTS}
    tensors |= {_MAPS: hand(kept["maps"]).contiguous(), _HALVES: hand(kept["halves"]).contiguous()}
    return tensors, {WIDTH: repr(landscape.width)}


class CurvedVolume:
    """V(z) = mean + sum_k phi_k(z) W_k, and the same of either half-set.

    Parameters
    ----------
    tensors, metadata : from stored_landscape
    box_px : int
        Of the maps to make.

    Raises
    ------
    KeyError, ValueError
        They are not those of a landscape.
    """

    def __init__(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], box_px: int) -> None:
        nodes, metric, combination, offset = (tensors[f"landscape.{name}"] for name in _PARTS)
        self._landscape = Landscape(nodes, metric, float(metadata[WIDTH]), combination, offset)
        self._maps, self._halves = tensors[_MAPS], tensors[_HALVES]
        self._box_px = box_px

    @property
    def maps(self) -> NDArray[np.float32]:
        """(1 + k, b, b, b) mean and components, on the box that they were made on."""
        found: NDArray[np.float32] = self._maps.numpy()
        return found

    def coefficients(self, latent: NDArray) -> NDArray[np.float32]:
        """(k,) of the components at a (q,) position."""
        position = torch.from_numpy(np.asarray(latent, np.float32))[None]
        found: NDArray[np.float32] = self._landscape.functions(position)[0].numpy()
        return found

    def at(self, latent: NDArray) -> NDArray[np.float32]:
        """(d, d, d) map at a (q,) position."""
        return self._mixed(self._maps[None], latent)[0]

    def halves_at(self, latent: NDArray) -> NDArray[np.float32]:
        """(2, d, d, d) maps of the half-sets at a (q,) position, not filtered."""
        return self._mixed(self._halves, latent)

    def _mixed(self, maps: Tensor, latent: NDArray) -> NDArray[np.float32]:
        weights = torch.cat([torch.ones(1), torch.from_numpy(self.coefficients(latent))])
        mixed = change_box(torch.einsum("k,hkzyx->hzyx", weights, maps), self._box_px)
        found: NDArray[np.float32] = mixed.numpy()
        return found

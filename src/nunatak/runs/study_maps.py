"""The maps of an analysis: representatives, paths, and the landscape of maps with occupancies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nunatak.analysis.clusters import kmeans_clusters
from nunatak.analysis.volume_space import VolumeSpace, block_occupancies, composition_states, volume_space
from nunatak.core.errors import require
from nunatak.io.mrc import read_map
from nunatak.runs.analysis_config import AnalysisConfig
from nunatak.runs.study import Study
from nunatak.simulate.motions import chain_blocks
from nunatak.simulate.structures import MODEL_SUFFIXES, density, read_atomic_model
from nunatak.volumes.maps import change_box

COARSE_BOX_PX = 64
"""Maps are compared on at most this box: their differences are coarse, and there are many."""
_BLOCK_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class MapLandscape:
    """Maps at representative particles, compared.

    Attributes
    ----------
    particles : (m,) int64
    space : VolumeSpace
    shares : (m,) float64
        Share of the particles that each map stands for.
    block_names : tuple of str
    occupancies : (m, b) float64
    states : (s, b) bool
    state_of_map : (m,) int64
    cell_of_particle : (n,) int32
        Which of the maps stands for each particle.
    """

    particles: NDArray[np.int64]
    space: VolumeSpace
    shares: NDArray[np.float64]
    block_names: tuple[str, ...]
    occupancies: NDArray[np.float64]
    states: NDArray[np.bool_]
    state_of_map: NDArray[np.int64]
    cell_of_particle: NDArray[np.int32]


def map_landscape(
    study: Study, config: AnalysisConfig, names: tuple[str, ...], masks: NDArray
) -> MapLandscape:
    """Maps at representatives of many small clusters: principal components, clusters, occupancies."""
    count = min(config.map_samples, len(study))
    cells = kmeans_clusters(study.positions[:, : study.informed], count, config.seed)
    maps = np.stack([coarse(study.volumes.at(study.volumes.latents[row])) for row in cells.representatives])
    space = volume_space(maps, config.kmeans)
    occupancies = block_occupancies(maps, masks, config.level) if len(masks) else np.zeros((len(maps), 0))
    states, state_of_map = composition_states(occupancies)
    return MapLandscape(
        cells.representatives,
        space,
        cells.sizes / cells.sizes.sum(),
        names,
        occupancies,
        states,
        state_of_map,
        cells.labels,
    )


def coarse(volume: NDArray) -> NDArray[np.float32]:
    """A (d, d, d) map on a box of at most 64."""
    if volume.shape[0] <= COARSE_BOX_PX:
        return np.asarray(volume, np.float32)
    return change_box(torch.from_numpy(np.asarray(volume, np.float32)), COARSE_BOX_PX).numpy()


def block_masks(paths: tuple[Path, ...], box_px: int, pixel_size_A: float) -> tuple[tuple[str, ...], NDArray]:
    """Names and (b, e, e, e) masks on the coarse box, from masks and atomic models in the maps' frame.

    A model's coordinates count from the corner of the box, as viewers show it over mean.mrc; each chain is a
    block.

    Raises
    ------
    InputError
        A file is unreadable, a mask has another box, or a model's chain lies outside the box.
    """
    names: list[str] = []
    masks: list[NDArray] = []
    for path in paths:
        suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
        found = (
            _model_masks(path, box_px, pixel_size_A)
            if suffix.lower() in MODEL_SUFFIXES
            else {path.name.split(".")[0]: _map_mask(path, box_px)}
        )
        for name, mask in found.items():
            require(
                bool(mask.any()),
                f"Block {name} of {path} has no voxel inside the box: is it in the map's frame?",
            )
            names.append(name)
            masks.append(mask)
    side = min(box_px, COARSE_BOX_PX)
    return tuple(names), np.stack(masks) if masks else np.zeros((0, side, side, side), bool)


def _map_mask(path: Path, box_px: int) -> NDArray[np.bool_]:
    mask, _, _ = read_map(path)
    require(
        mask.shape == (box_px,) * 3,
        f"The mask {path} has a box of {mask.shape}, the maps one of {box_px} px: give it on the maps' grid.",
    )
    return coarse(mask) > 0.5


def _model_masks(path: Path, box_px: int, pixel_size_A: float) -> dict[str, NDArray[np.bool_]]:
    model = read_atomic_model(path)
    corner_A = box_px // 2 * pixel_size_A
    found = {}
    for name, chain in chain_blocks(model.moved(model.positions_A - corner_A)).items():
        filled = coarse(density(chain, box_px, pixel_size_A, 4 * pixel_size_A).numpy())
        found[f"{path.name.split('.')[0]}_{name}"] = filled > _BLOCK_SHARE * max(float(filled.max()), 1e-6)
    return found

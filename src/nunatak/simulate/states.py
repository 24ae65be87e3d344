"""From a configuration to the true volumes: structures, their motion, and the grid they are put on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nunatak.core.errors import require
from nunatak.io.mrc import read_map
from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.motions import assemble, chain_blocks, default_assembly, find_hinge, split_blocks, swing
from nunatak.simulate.phantoms import ARM_CHAIN, builtin_molecule
from nunatak.simulate.structures import AtomicModel, density, is_map, read_atomic_model, resample_map

FILLED_FRACTION = 0.8
"""Part of the box that the molecule spans when the pixel size is free."""
DEFAULT_HINGE_STATES = 20
RESOLUTION_PX = 3.0


@dataclass(frozen=True)
class States:
    """The true volumes and their reaction coordinate; see Truth for the fields."""

    volumes: Tensor
    coordinates: Tensor
    pixel_size_A: float


def build_states(config: SimulationConfig) -> States:
    """The volumes of a simulation, in the units of the structures.

    Raises
    ------
    InputError
        When structures are unreadable, do not suit the motion, or do not fit into the box.
    """
    maps = [path for path in config.structure if is_map(path)]
    if maps:
        require(
            len(maps) == len(config.structure) and config.motion == "rigid",
            "Maps can only be simulated as they are (--motion rigid, maps alone), but the motion is "
            f"{config.motion} and {len(config.structure) - len(maps)} of the structures are atomic models; "
            "simulate them apart.",
        )
        return _states_of_maps(maps, config)
    make_states = {"rigid": _rigid, "hinge": _hinge, "assembly": _assembly}[config.motion]
    models, coordinates = make_states(_read_models(config), config)
    pixel_size_A = config.pixel_size_A or _fitting_pixel_size_A(models, config.box_px)
    _require_fit(models, config.box_px, pixel_size_A)
    resolution_A = config.resolution_A or RESOLUTION_PX * pixel_size_A
    volumes = torch.stack([density(model, config.box_px, pixel_size_A, resolution_A) for model in models])
    return States(volumes, torch.as_tensor(coordinates, dtype=torch.float32), pixel_size_A)


def _read_models(config: SimulationConfig) -> dict[str, AtomicModel]:
    """Atomic models by their file's name up to the first dot, or by their path where names repeat."""
    if not config.structure:
        return {"builtin": builtin_molecule()}
    names = [path.name.split(".")[0] for path in config.structure]
    if len(set(names)) < len(names):
        names = [str(path) for path in config.structure]
    return {name: read_atomic_model(path) for name, path in zip(names, config.structure, strict=True)}


def _rigid(models: dict[str, AtomicModel], config: SimulationConfig):
    """Each structure is a state, about its own centre of mass."""
    _require_states(config, len(models), "one per --structure")
    return [model.centred() for model in models.values()], np.arange(len(models))


def _hinge(models: dict[str, AtomicModel], config: SimulationConfig):
    """One structure, its arm at evenly spaced angles."""
    require(
        len(models) == 1,
        f"A hinge motion takes one --structure, but {len(models)} were given; give one, or --motion rigid.",
    )
    model = next(iter(models.values())).centred()
    selections = config.hinge_chains or (() if config.structure else (ARM_CHAIN,))
    hinge = find_hinge(model, selections, config.hinge_pivot)
    count = config.states or DEFAULT_HINGE_STATES
    coordinates = np.linspace(-1, 1, count) if count > 1 else np.zeros(1)
    return [swing(model, hinge, config.hinge_degrees * t) for t in coordinates], coordinates


def _assembly(models: dict[str, AtomicModel], config: SimulationConfig):
    """Blocks present or absent, all about the centre of mass of the whole."""
    if len(models) > 1:
        blocks = models
    else:
        model = next(iter(models.values()))
        blocks = chain_blocks(model) if config.assembly_states else split_blocks(model, config.blocks)
    if config.assembly_states:
        present = [tuple(state.split("+")) for state in config.assembly_states]
        _require_states(config, len(present), "one per --assembly-states")
    else:
        present = default_assembly(list(blocks), config.states or len(blocks))
    whole = assemble(blocks, tuple(blocks)).centre_of_mass_A
    states = [assemble(blocks, names) for names in present]
    return [model.moved(model.positions_A - whole) for model in states], np.arange(len(states))


def _require_states(config: SimulationConfig, count: int, reason: str) -> None:
    require(
        config.states in (None, count),
        f"There are {count} states, {reason}, but --states asks for {config.states}; leave it out.",
    )


def _fitting_pixel_size_A(models: list[AtomicModel], box_px: int) -> float:
    """Pixel size, to a tenth of an angstrom or better, at which the largest state spans 80 % of the box."""
    span_A = 2 * max(model.radius_A for model in models)
    return float(f"{span_A / FILLED_FRACTION / box_px:.2g}")


def _require_fit(models: list[AtomicModel], box_px: int, pixel_size_A: float) -> None:
    span_A, box_A = 2 * max(model.radius_A for model in models), box_px * pixel_size_A
    require(
        span_A <= box_A,
        f"The structure should fit into the box, but reaches {span_A / 2:.0f} A from its centre and half the "
        f"box is {box_A / 2:.0f} A; take a larger --box-px or --pixel-size-A.",
    )


def _states_of_maps(paths: list[Path], config: SimulationConfig) -> States:
    """Maps brought onto one grid: the given pixel size, or the one at which the first map's box is kept."""
    _require_states(config, len(paths), "one per --structure")
    maps = [read_map(path)[:2] for path in paths]
    for path, (data, size_A) in zip(paths, maps, strict=True):
        require(
            data.ndim == 3 and len(set(data.shape)) == 1 and size_A > 0,
            f"The map {path} should be a cube with a pixel size, but has shape {data.shape} and {size_A:g} A "
            "per pixel; pad it or set its header.",
        )
    first, first_size_A = maps[0]
    pixel_size_A = config.pixel_size_A or first_size_A * len(first) / config.box_px
    volumes = [
        resample_map(torch.from_numpy(data), size_A, config.box_px, pixel_size_A) for data, size_A in maps
    ]
    return States(torch.stack(volumes), torch.arange(len(volumes)).float(), pixel_size_A)

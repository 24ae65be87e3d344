"""Trainable volumes from a description that can be written down, and back."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from nunatak.core.errors import InputError
from nunatak.volumes.coordinate_field import CoordinateField
from nunatak.volumes.field_config import CoordinateConfig, FieldShape, GridConfig
from nunatak.volumes.grid_field import GridField

TrainableField = CoordinateField | GridField


@dataclass(frozen=True)
class FieldPlan:
    """Everything that a field is made of but its numbers.

    Attributes
    ----------
    kind : "network" or "grid"
    shape : FieldShape
    network : CoordinateConfig
    grid : GridConfig
        Of a network, only the mask of the mean that it may be added to.
    """

    kind: Literal["network", "grid"]
    shape: FieldShape
    network: CoordinateConfig = field(default_factory=CoordinateConfig)
    grid: GridConfig = field(default_factory=GridConfig)

    def text(self) -> str:
        """As JSON, for the file that the numbers are in."""
        return json.dumps(dataclasses.asdict(self))


def plan_from_text(text: str) -> FieldPlan:
    """The plan that FieldPlan.text wrote.

    Raises
    ------
    InputError
        It is something else.
    """
    try:
        read = json.loads(text)
        parts = FieldShape(**read["shape"]), CoordinateConfig(**read["network"]), GridConfig(**read["grid"])
        return FieldPlan(read["kind"], *parts)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"The description of the trained volume cannot be read ({error}).") from error


def new_field(plan: FieldPlan, amplitude: Tensor, generator: torch.Generator) -> TrainableField:
    """An untrained field.

    Parameters
    ----------
    amplitude : (radius + 1,) float32
        Expected size of the transform per shell; the field lives where it does.
    generator : torch.Generator
        On the CPU.
    """
    if plan.kind == "grid":
        return GridField(plan.shape, plan.grid, amplitude, generator).to(amplitude.device)
    mean = None
    if plan.network.on_mean:
        mean = GridField(replace(plan.shape, latent_dim=0), plan.grid, amplitude, generator)
    return CoordinateField(plan.shape, plan.network, amplitude, generator, mean).to(amplitude.device)


def field_with(plan: FieldPlan, numbers: dict[str, Tensor]) -> TrainableField:
    """A field with the numbers of a state_dict, on their device.

    Raises
    ------
    InputError
        They are not those of the plan.
    """
    device = next(iter(numbers.values())).device
    amplitude = torch.ones(plan.shape.radius_px + 1, device=device)
    made = new_field(plan, amplitude, torch.Generator().manual_seed(0))
    try:
        made.load_state_dict(numbers)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise InputError(f"The numbers of the trained volume do not fit its description: {first}") from error
    return made

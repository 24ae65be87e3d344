"""<A x, y> = <x, A* y> for every class that offers `forward` and `adjoint`."""

from __future__ import annotations

import ast

import pytest
import torch
from _source import Function, modules

from nunatak.core.fourier import half_plane
from nunatak.geometry.rotations import random_rotations
from nunatak.projection.operator import Projector

CHECKED = {"Projector"}


def test_every_operator_is_checked_here() -> None:
    found = set()
    for module in modules():
        for cls in module.classes():
            methods = {node.name for node in cls.body if isinstance(node, Function)}
            if {"forward", "adjoint"} <= methods:
                found.add(cls.name)
    assert found == CHECKED, f"operators without a test here, or the reverse: {found ^ CHECKED}"


def test_adjoints_are_not_written_elsewhere() -> None:
    """An adjoint belongs to the operator it turns around."""
    for module in modules():
        for cls in module.classes():
            methods = {node.name for node in cls.body if isinstance(node, ast.FunctionDef)}
            assert "adjoint" not in methods or "forward" in methods, (
                f"{module.at(cls)}: adjoint without forward"
            )


@pytest.mark.parametrize("box", [16, 17])
@pytest.mark.parametrize("radius", [5, 7])
def test_projector(box: int, radius: int) -> None:
    generator = torch.Generator().manual_seed(box)
    plane = half_plane(box, radius)
    projector = Projector(plane.frequencies, plane.radius_px, box)
    rotations = random_rotations(6, generator)
    maps = torch.randn(2, box, box, box, generator=generator)
    samples = torch.randn(6, len(plane), 2, dtype=torch.complex64, generator=generator)
    # Real inner product over the whole plane: twice the real part over the half (convention 5).
    forward = 2 * (projector.forward(maps, rotations) * samples.conj()).sum().real.item()
    adjoint = (maps * projector.adjoint(samples, rotations)).sum().item()
    assert forward == pytest.approx(adjoint, rel=1e-4)

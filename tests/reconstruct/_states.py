"""States of a run, kept and compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from nunatak.geometry.rotations import geodesic_deg
from nunatak.reconstruct.state import RunState


class Passes:
    """A listener that keeps the state after every pass, the beginning first."""

    def __init__(self) -> None:
        self.states = [RunState()]

    def on_progress(self, progress: object) -> None:
        """Not looked at."""

    def on_pass(self, state: RunState, stage: str) -> None:
        self.states.append(state)


def tensors_of(tree: Any, path: str = "state") -> Iterator[tuple[str, Tensor]]:
    if isinstance(tree, Tensor):
        yield path, tree
    elif is_dataclass(tree):
        for field in fields(tree):
            yield from tensors_of(getattr(tree, field.name), f"{path}.{field.name}")
    elif isinstance(tree, tuple):
        for number, item in enumerate(tree):
            yield from tensors_of(item, f"{path}.{number}")


def check_close(found: Any, expected: Any, tolerance: float) -> None:
    """Every tensor of two trees, relative to its largest number."""
    mine, theirs = dict(tensors_of(found)), dict(tensors_of(expected))
    assert mine.keys() == theirs.keys()
    for path, tensor in theirs.items():
        if tensor.dtype is torch.bool:
            assert torch.equal(mine[path].cpu(), tensor.cpu()), path
            continue
        size = float(tensor.abs().max()) if tensor.numel() else 0.0
        torch.testing.assert_close(mine[path], tensor, rtol=0, atol=tolerance * size, msg=path)


def check_same_pass(found: RunState, expected: RunState, evidence_nats: float = 0.1) -> None:
    """Two states but for particles on a kink, their mean evidence up to so many nats.

    Where a sample lies on the border of a voxel, as at poses of the grid, the slope of an interpolated map
    jumps, and rounding decides to which side a local search goes. Measured: of 80 particles 4 when all are
    oriented, 4 in the second look, which begins from poses of the grid as well, 1 in the first joint pass,
    else none; the others agree to 1e-6 of the largest number.
    """
    mine, theirs = found.model, expected.model
    same = geodesic_deg(mine.candidates.rotations, theirs.candidates.rotations) < 0.01
    # On a kink that has not moved a pose, the slope still enters the covariance of its latents.
    apart = (mine.covariances - theirs.covariances).abs().flatten(1).amax(1) if mine.latent_dim else 0 * same
    same = same & (apart <= 1e-3)
    assert float(same.float().mean()) > 0.9
    assert abs(float((mine.log_evidence - theirs.log_evidence).mean())) < evidence_nats
    check_close(mine.candidates[same], theirs.candidates[same], 1e-3)
    check_close(
        (mine.covariances[same], mine.log_evidence[same]),
        (theirs.covariances[same], theirs.log_evidence[same]),
        1e-3,
    )
    # A particle that went to the other side of its kink is in the maps, too: 1 of 80 at 4 degrees changed the
    # largest voxel by 2 %. Where none did, maps are the same.
    tolerance = 1e-3 if bool(same.all()) else 0.05
    for get in (
        lambda state: (state.model.maps, state.model.correlation, state.model.noise_variance),
        lambda state: (state.maps, state.confidence, state.junk),
    ):
        check_close(get(found), get(expected), tolerance)

"""Orientations that look alike are told apart by what little distinguishes them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from _made_images import blobs, images_of
from _small_runs import small_set
from torch import Tensor

from nunatak.core.collective import ALONE
from nunatak.geometry.rotations import geodesic_deg, rotation_from_vector
from nunatak.projection.gridding import block_from_maps
from nunatak.projection.operator import slice_block
from nunatak.reconstruct.model import Model, maximize
from nunatak.reconstruct.passes import CLASSES
from nunatak.reconstruct.pseudosymmetry import ALIKE, mates, pseudosymmetry_pass, told_apart, turned
from nunatak.reconstruct.state import Context, RunState
from nunatak.search.candidates import Candidates
from nunatak.volumes.alignment import Motion

BOX, COUNT, RADIUS = 32, 600, 12
TURN = rotation_from_vector(torch.tensor([[0.0, 0.0, torch.pi]], dtype=torch.float64)).float()[0]


@lru_cache(maxsize=1)
def two_alike() -> Tensor:
    """A map of two equal parts, half a turn about z apart, one of which has a knob more."""
    generator = torch.Generator().manual_seed(4)
    part = torch.randn(14, 3, generator=generator) * 2.0 + torch.tensor([4.5, 0.0, 0.0])
    knob = torch.tensor([[8.0, 2.5, 1.0], [8.5, -1.0, -1.5], [6.0, 4.0, 0.0]])
    return blobs(torch.cat([part, part @ TURN.T, knob]), 1.7**0.5, BOX)


def in_noise(volume: Tensor, strength: float) -> tuple[Context, Model]:
    """A set of images of a map in noise, and the model of true poses."""
    return images_of(volume[None], torch.ones(COUNT, 1), strength, RADIUS, radius_end_px=8)


def half_turned(model: Model, part: float) -> tuple[Model, Tensor]:
    """Poses of which a part is turned to where the molecule looks alike, and which."""
    wrong = torch.rand(COUNT, generator=torch.Generator().manual_seed(2)) < part
    own = model.candidates
    rotations = torch.where(wrong[:, None, None], own.rotations @ TURN, own.rotations)
    return replace(model, candidates=replace(own, rotations=rotations)), wrong


def test_a_map_knows_by_which_rotation_it_nearly_repeats() -> None:
    motion = mates(two_alike(), torch.ones(BOX // 2), RADIUS, ALONE)
    assert torch.equal(motion.rotations[0], torch.eye(3))
    assert float(geodesic_deg(motion.rotations[1], TURN)) < 3
    assert float(motion.shifts_px[1].norm()) < 1


def test_a_turned_pose_sees_the_same_of_a_symmetric_map() -> None:
    """Conventions 2 and 3: turn and shift of a mate, on a map that repeats about an axis off the centre."""
    symmetric = two_alike() + two_alike().flip(1, 2).roll((1, 1), (1, 2))
    shift = torch.tensor([3.0, -2.0, 0.0])
    moved = symmetric.roll((-2, 3), (1, 2))
    # V(x) = S(x - d) with S(Q x) = S(x): V(Q x + d - Q d) = V(x).
    motion = {0: Motion(TURN[None], (shift - TURN @ shift)[None])}
    truth = small_set(COUNT, BOX, 0.0)[1]
    count = 20
    own = Candidates(
        truth.rotations[:count],
        torch.zeros(count, 2),
        torch.ones(count),
        torch.zeros(count, 0),
        torch.arange(count),
    )
    other, _ = turned(own, motion, torch.zeros(count, dtype=torch.long), 1.0)
    plane = small_set(COUNT, BOX, 0.0)[0].plane
    frequencies = plane.frequencies[: plane.count_within(8)]
    block = block_from_maps(moved[None], 10)

    def seen(poses: Candidates) -> Tensor:
        moved_by = torch.exp(2j * torch.pi / BOX * (poses.shifts_px @ frequencies.T.float()))
        return slice_block(block, poses.rotations, frequencies)[..., 0] * moved_by

    expected = seen(own)
    assert float((seen(other) - expected).norm() / expected.norm()) < 0.1
    unmoved = replace(other, shifts_px=own.shifts_px)
    assert float((seen(unmoved) - expected).norm() / expected.norm()) > 0.4


def test_half_turned_images_turn_back() -> None:
    """A third is wrong: a map on which hardly anything distinguishes the parts, and images that do."""
    context, right = in_noise(two_alike(), 6.0)
    begun, wrong = half_turned(right, 1 / 3)
    begun = maximize(begun, context.cache, RADIUS, context.mask_fraction, True)
    state = RunState(model=begun, kept={CLASSES: torch.zeros(COUNT, dtype=torch.long)})
    for done in range(4):
        state = pseudosymmetry_pass(replace(state, passes=done), context)
        if told_apart(state):
            break
    error = geodesic_deg(state.oriented.candidates.rotations, right.candidates.rotations)
    assert float((error[wrong] < 15).float().mean()) > 0.95
    assert float((error[~wrong] < 15).float().mean()) > 0.95


def test_an_even_molecule_stays_as_it_is() -> None:
    """Without the knob neither orientation is better: nothing drifts away, and no pose is lost."""
    even = two_alike() + two_alike().flip(1, 2).roll((1, 1), (1, 2))
    context, right = in_noise(even, 6.0)
    begun = maximize(right, context.cache, RADIUS, context.mask_fraction, True)
    state = RunState(model=begun, kept={CLASSES: torch.zeros(COUNT, dtype=torch.long)})
    found = pseudosymmetry_pass(state, context)
    rotations = found.oriented.candidates.rotations
    error = torch.minimum(
        geodesic_deg(rotations, right.candidates.rotations),
        geodesic_deg(rotations, right.candidates.rotations @ TURN),
    )
    assert float(error.median()) < 4
    assert float((error < 15).float().mean()) > 0.95
    assert set(found.history[-1]) == {"classes", "changed", "radius_px"}
    assert found.kept[ALIKE] in ((), (0,))

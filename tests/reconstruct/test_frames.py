"""One frame for all states: recovered where states drifted apart, left alone where they share one."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import torch
from _swing import BOX, about_z, blobs, body_and_arm, states_of
from torch import Tensor

from nunatak.geometry.rotations import geodesic_deg, random_rotations
from nunatak.projection.gridding import block_from_maps
from nunatak.projection.operator import slice_block
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.frames import (
    followed_coordinate,
    group_states,
    reframed,
    steady_motion,
    still_frames,
)
from nunatak.reconstruct.model import Model
from nunatak.search.candidates import Candidates
from nunatak.volumes.alignment import Motion, move_maps


def test_states_that_share_the_swing_are_brought_to_rest() -> None:
    """The arm swings by 80 degrees and every frame by half of it, as an ab initio run leaves them."""
    angles = [-40.0, -20.0, 0.0, 20.0, 40.0]
    drift = torch.stack([about_z(0.5 * a) for a in angles])
    drifted = move_maps(body_and_arm(angles), Motion(drift, torch.zeros(5, 3)))
    found = still_frames(states_of(drifted), 12)
    assert found is not None
    # Together they are one rotation for all states: measured 3.0 degrees apart at the worst, median 1.0.
    total = drift @ found.rotations
    apart = geodesic_deg(total[:, None], total[None])
    before = geodesic_deg(drift[:, None], drift[None])
    assert float(before.max()) > 39.9
    assert float(apart.max()) < 6.0
    assert float(apart.median()) < 3.0


def test_states_that_stayed_behind_are_brought_along() -> None:
    """Of eleven states half are matched already, the others still share the swing: up to 20 degrees off."""
    angles = torch.linspace(-40, 40, 11).tolist()
    drift = torch.stack([about_z(0.5 * a) for a in angles])
    drifted = move_maps(body_and_arm(angles), Motion(drift, torch.zeros(11, 3)))
    matched = torch.stack([about_z(-0.5 * max(a, 0.0)) for a in angles])
    found = steady_motion(states_of(drifted), Motion(matched, torch.zeros(11, 3)), 12)
    before, after = (
        geodesic_deg(total[:, None], total[None]) for total in (drift @ matched, drift @ found.rotations)
    )
    assert float(before.max()) > 19.9
    assert float(after.max()) < 5.0
    assert float(after.median()) < 2.5


def test_the_latent_that_frames_follow_need_not_be_the_first() -> None:
    """Twenty states of which the second latent is the swing, the first in no order with it."""
    angles = torch.linspace(-40, 40, 20)
    drift = torch.stack([about_z(0.5 * float(a)) for a in angles])
    motion = Motion(drift.transpose(1, 2), torch.zeros(20, 3))
    mixed = 3 * torch.randn(20, generator=torch.Generator().manual_seed(2))
    states = states_of(torch.zeros(20, BOX, BOX, BOX))
    place = torch.linspace(0.025, 0.975, 20)[:, None]
    for centres in (torch.stack([mixed, angles], 1), torch.stack([angles, mixed], 1)):
        found = followed_coordinate(replace(states, centres=centres), motion)
        torch.testing.assert_close(found, place)


def test_of_unevenly_occupied_states_the_latent_itself_is_followed() -> None:
    """Two wells of states at the ends of the swing with a gap between: ranks do not see how wide it is."""
    angles = torch.cat([torch.linspace(-40, -30, 10), torch.linspace(30, 40, 10)])
    drift = torch.stack([about_z(0.5 * float(a)) for a in angles])
    states = replace(states_of(torch.zeros(20, BOX, BOX, BOX)), centres=angles[:, None])
    motion = Motion(drift.transpose(1, 2), torch.zeros(20, 3))
    torch.testing.assert_close(followed_coordinate(states, motion), angles[:, None])


def test_states_that_share_a_frame_are_left_alone() -> None:
    assert still_frames(states_of(body_and_arm([-40.0, -20.0, 0.0, 20.0, 40.0])), 12) is None


def test_a_block_that_comes_and_goes_changes_no_frame() -> None:
    whole = body_and_arm([0.0])[0]
    generator = torch.Generator().manual_seed(5)
    block = blobs(torch.randn(6, 3, generator=generator) + torch.tensor([0.0, 8.0, 3.0]), torch.ones(6))
    assert still_frames(states_of(torch.stack([whole, whole + block, whole, whole + block])), 12) is None


def test_new_poses_see_the_moved_map_as_the_old_ones_saw_the_map() -> None:
    """Conventions 2 and 3: rotation, shift and sign of reframed, by slices of both maps."""
    maps, radius, ratio = body_and_arm([10.0]), 9, 2.0
    motion = Motion(about_z(25.0)[None], torch.tensor([[1.0, -0.5, 0.7]]))
    count, pixels = 4, BOX * ratio
    rotations = random_rotations(count, torch.Generator().manual_seed(1))
    shifts = torch.tensor([[0.0, 0.0], [2.0, -1.0], [0.5, 3.0], [-2.0, 1.0]])
    candidates = Candidates(rotations, shifts, torch.ones(count), torch.zeros(count, 0), torch.arange(count))
    empty = torch.zeros(count, 0, 0)
    model = Model(
        maps[None],
        radius,
        torch.zeros(1, 4),
        candidates,
        empty,
        torch.ones(4),
        torch.zeros(count),
        torch.zeros(4),
    )
    moved = reframed(model, torch.ones(count, 1), motion, ratio).candidates
    plane = torch.tensor([[1, 0], [2, 3], [0, 4], [4, -3], [5, 1], [3, 5]])

    def views(of: Tensor, own: Candidates) -> Tensor:
        found = slice_block(block_from_maps(of, radius), own.rotations, plane)[..., 0]
        return found * torch.exp(2j * math.pi / pixels * (own.shifts_px @ plane.float().T))

    expected, found = views(maps, candidates), views(move_maps(maps, motion), moved)
    assert float((expected - found).norm() / expected.norm()) < 0.1


def test_states_that_cannot_be_told_apart_are_not_grouped() -> None:
    """Identical latents, or too few particles for a map of each state: no grouping, and no warning."""
    count = 600
    candidates = Candidates(
        torch.eye(3).repeat(count, 1, 1),
        torch.zeros(count, 2),
        torch.ones(count),
        torch.zeros(count, 2),
        torch.arange(count),
    )
    empty = torch.zeros(count, 2, 2)
    noise, halves = torch.ones(4), torch.zeros(count)
    model = Model(
        torch.ones(1, 3, 8, 8, 8), 3, torch.zeros(3, 4), candidates, empty, noise, halves, torch.zeros(count)
    )
    context = SimpleNamespace(config=EngineConfig(latent_dim=2), device=torch.device("cpu"))
    assert group_states(model, context, 3) is None  # type: ignore[arg-type]
    spread = replace(candidates, latents=torch.randn(count, 2, generator=torch.Generator().manual_seed(0)))
    few = replace(model, candidates=spread[torch.arange(300)])
    assert group_states(few, context, 3) is None  # type: ignore[arg-type]


def test_junk_makes_no_groups() -> None:
    """Three hundred sound particles are too few for groups, however many images of junk lie beside them."""
    count = 900
    latents = torch.randn(count, 2, generator=torch.Generator().manual_seed(0))
    candidates = Candidates(
        torch.eye(3).repeat(count, 1, 1),
        torch.zeros(count, 2),
        torch.ones(count),
        latents,
        torch.arange(count),
    )
    model = Model(
        torch.ones(1, 3, 8, 8, 8),
        3,
        torch.zeros(3, 4),
        candidates,
        torch.zeros(count, 2, 2),
        torch.ones(4),
        torch.zeros(count),
        torch.zeros(count),
        torch.arange(count) < 300,
    )
    context = SimpleNamespace(config=EngineConfig(latent_dim=2), device=torch.device("cpu"))
    assert group_states(model, context, 3) is None  # type: ignore[arg-type]

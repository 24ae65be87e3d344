"""What each of several processes does of work that all could do adds up to what one process does."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from _swing import drifted_states
from torch import Tensor

from nunatak.core.collective import Group, Share
from nunatak.geometry.rotations import random_rotations
from nunatak.reconstruct.frame_fit import still_motion
from nunatak.reconstruct.frames import still_frames
from nunatak.reconstruct.solving import System, solve_systems
from nunatak.volumes.alignment import Motion, match, no_motion
from nunatak.volumes.local_filter import locally_filtered
from nunatak.volumes.wiener import FourierSums, empty_sums

BOX, RADIUS = 16, 6
SIZES = [2, 3, 7]


def random_sums(channels: int, seed: int) -> FourierSums:
    draw = torch.Generator().manual_seed(seed)
    sums = empty_sums(RADIUS, channels)
    numerator = torch.randn(sums.numerator.shape, dtype=torch.complex64, generator=draw)
    latents = torch.randn(50, channels, generator=draw)
    row, column = torch.triu_indices(channels, channels)
    packed = (latents[:, row] * latents[:, column]).sum(0)
    weights = torch.rand(sums.denominator.shape[:3], generator=draw)[..., None]
    return FourierSums(numerator, weights * packed, RADIUS)


@pytest.mark.parametrize("channels", [1, 3])
def test_sums_are_added_while_they_are_solved(channels: int) -> None:
    first, second = (random_sums(channels, seed) for seed in (0, 1))
    systems = [System((first,), 0.5), System((second,), 0.5), System((first, second), 0.9)]
    found = solve_systems(systems, BOX, Group())
    assert found.shape == (3, channels, BOX, BOX, BOX)
    added = solve_systems([System((first + second,), 0.9)], BOX, Group())
    torch.testing.assert_close(found[2:], added, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_parts_of_systems_are_those_of_the_whole(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    systems = [System((random_sums(2, 0),), 0.5), System((random_sums(2, 1),), 0.8)]
    whole, parts = solve_systems(systems, BOX, Group()), []

    def kept(share: Share, tree: torch.Tensor) -> torch.Tensor:
        parts.append(tree)
        return whole.flatten(0, 1)

    monkeypatch.setattr(Share, "joined", kept)
    for rank in range(size):
        solve_systems(systems, BOX, Group(rank, size))
    assert torch.equal(torch.cat(parts), whole.flatten(0, 1))


@pytest.mark.parametrize("size", SIZES)
def test_bands_of_the_local_filter_add_up(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(2)
    halves = torch.randn(2, 2, BOX, BOX, BOX, generator=draw)
    powers = torch.tensor([1, 2]).view(2, 1, 1, 1)
    whole = locally_filtered(halves.mean(0), halves, RADIUS, True, powers)
    # Processes that do not meet: each is handed back what it did itself.
    monkeypatch.setattr(Group, "total", lambda self, tree: tree)
    parts = [
        locally_filtered(halves.mean(0), halves, RADIUS, True, powers, Group(rank, size))
        for rank in range(size)
    ]
    torch.testing.assert_close(torch.stack(parts).sum(0), whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_every_rotation_is_tried_by_one_process(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(3)
    first, second = torch.randn(2, BOX, BOX, BOX, generator=draw)
    rotations, told = random_rotations(20, draw), []

    def kept(share: Share, tree: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        told.append(tree)
        return told[0]

    monkeypatch.setattr(Share, "joined", kept)
    alone = match(first, second, rotations, ())
    shared = [match(first, second, rotations, (), Group(rank, size)) for rank in range(size)]
    for whole, *parts in zip(*told, strict=True):
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-5, atol=1e-6)
    assert all(score == alone[1] for _, score in shared)
    assert all(torch.equal(motion.rotations, alone[0].rotations) for motion, _ in shared)


def together(
    size: int, work: Callable[[Group], Motion | None], monkeypatch: pytest.MonkeyPatch
) -> list[Motion]:
    """What each of so many processes, here threads that meet at every sum, ends with."""
    barrier, told = Barrier(size, timeout=60), [()] * size

    def met(group: Group, tree: object) -> list:
        if group.size == 1:
            return [tree]
        told[group.rank] = tree
        barrier.wait()
        every = list(told)
        barrier.wait()
        return every

    def joined(group: Group, motion: Motion | tuple[Tensor, Tensor]) -> Motion | tuple[Tensor, ...]:
        if isinstance(motion, tuple):
            return tuple(torch.cat(parts) for parts in zip(*met(group, motion), strict=True))
        every = met(group, motion)
        return Motion(torch.cat([m.rotations for m in every]), torch.cat([m.shifts_px for m in every]))

    monkeypatch.setattr(Group, "total", lambda group, tree: sum(met(group, tree)))
    monkeypatch.setattr(Group, "joined", joined)
    monkeypatch.setattr(Group, "agreed", lambda group, tree: met(group, tree)[0])
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(work, [Group(rank, size) for rank in range(size)]))


def test_frames_of_states_are_those_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    states = drifted_states(5)

    def frames(group: Group) -> Motion | None:
        return still_frames(states, 12, group)

    def moved(group: Group) -> Motion:
        start = no_motion(5, states.maps)
        return still_motion(states.maps, states.centres, states.shares, start, group)

    for work in (frames, moved):
        alone = work(Group())
        assert alone is not None
        assert float((alone.rotations - torch.eye(3)).abs().max()) > 0.05
        with monkeypatch.context() as patched:
            shared = together(3, work, patched)
        assert all(torch.equal(found.rotations, shared[0].rotations) for found in shared)
        torch.testing.assert_close(shared[0].rotations, alone.rotations, rtol=0, atol=2e-3)
        torch.testing.assert_close(shared[0].shifts_px, alone.shifts_px, rtol=0, atol=2e-2)

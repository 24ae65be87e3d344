"""The race of random starts: what it learns from, what it is judged on, how long it takes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from _small_runs import small_context, small_set

from nunatak.core.fourier import fourier_map, real_map
from nunatak.geometry.rotations import rotation_from_vector
from nunatak.reconstruct import consensus, starts
from nunatak.reconstruct.consensus import ConsensusState, radius_at
from nunatak.reconstruct.starts import (
    agreed,
    batch_rows,
    decided,
    open_pass,
    race_length,
    race_pass,
    rounds,
    spherical_average,
)
from nunatak.reconstruct.state import Context, RunState
from nunatak.volumes.alignment import Motion, move_maps
from nunatak.volumes.maps import mirrored, radius_grid, soft_sphere
from nunatak.volumes.wiener import empty_sums


def context() -> Context:
    return small_context(small_set()[0])


def opened(run: Context, count: int) -> RunState:
    state = RunState()
    for passes in range(count):
        state = replace(open_pass(state, run), passes=passes + 1)
    return replace(state, passes=0)


def raced(state: RunState, run: Context, passes: int) -> RunState:
    for done in range(passes):
        state = replace(race_pass(state, run), passes=done + 1)
    return state


@pytest.mark.parametrize(("count", "batch"), [(60, 12), (60, 20), (7, 7)])
def test_an_epoch_visits_every_learning_row_once(count: int, batch: int) -> None:
    learning = torch.arange(100, 100 + count)
    per_epoch = count // batch
    for epoch in range(3):
        visited = torch.cat(
            [batch_rows(epoch * per_epoch + i, learning, batch, context(), 0) for i in range(per_epoch)]
        )
        assert visited.sort().values.tolist() == learning.tolist()


def test_epochs_of_a_ragged_end_leave_out_different_rows() -> None:
    """65 rows in batches of 20: each epoch leaves out 5, and after some epochs all have had their turn."""
    learning = torch.arange(65)
    epochs = [
        torch.cat([batch_rows(3 * epoch + i, learning, 20, context(), 0) for i in range(3)])
        for epoch in range(6)
    ]
    assert all(len(visited.unique()) == 60 for visited in epochs)
    assert len(torch.cat(epochs).unique()) == 65


def test_orders_differ_from_epoch_to_epoch_and_start_to_start_and_are_repeatable() -> None:
    learning, one = torch.arange(60), context()
    first = batch_rows(0, learning, 30, one, 0).tolist()
    assert first == batch_rows(0, learning, 30, context(), 0).tolist()
    assert first != batch_rows(2, learning, 30, one, 0).tolist()
    assert first != batch_rows(0, learning, 30, one, 1).tolist()
    other_seed = small_context(small_set()[0], seed=1)
    assert first != batch_rows(0, learning, 30, other_seed, 0).tolist()


def test_more_images_in_a_batch_than_there_are_is_one_batch() -> None:
    assert batch_rows(3, torch.arange(5), 24, context(), 0).sort().values.tolist() == list(range(5))


def test_held_out_rows_are_never_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row that an update is given, over a whole race, against the rows that judge it."""
    run = context()
    learned: list[torch.Tensor] = []
    update = starts.consensus_update

    def spy(state: ConsensusState, images: object, config: object, rows: torch.Tensor) -> ConsensusState:
        learned.append(rows)
        return update(state, images, config, rows)

    monkeypatch.setattr(starts, "consensus_update", spy)
    raced(opened(run, 2), run, race_length(2))
    held_out = set(run.held_out.tolist())
    assert len(held_out) == 8
    assert not held_out & set(torch.cat(learned).tolist())
    assert len(torch.cat(learned).unique()) == 72


@pytest.mark.parametrize("restarts", [1, 2, 3, 4, 5, 8, 13])
def test_rounds_halve_down_to_one(restarts: int) -> None:
    sizes = rounds(restarts)
    assert sizes[0] == restarts
    assert sizes[-1] == 1
    assert len(sizes) >= 3
    assert all(after == (before + 1) // 2 for before, after in itertools.pairwise(sizes))
    later = sizes[1:]
    places = [starts._position(passes, later) for passes in range(race_length(restarts))]
    assert places == [(number, place) for number, size in enumerate(later) for place in range(size)]
    with pytest.raises(IndexError):
        starts._position(race_length(restarts), later)


def test_rounds_of_eight() -> None:
    assert rounds(8) == [8, 4, 2, 1]


def judged(evidence: float, updates: int, label: int = 0) -> ConsensusState:
    maps = torch.full((1, 8, 8, 8), float(label))
    return ConsensusState(maps, empty_sums(2, 1), updates, 1.0, evidence, torch.ones(3))


def stubbed(monkeypatch: pytest.MonkeyPatch, scores: dict[int, float], shared: float) -> Context:
    """A context whose starts have known scores, numbered maps, and agreements as told."""
    made = iter(range(len(scores)))
    monkeypatch.setattr(starts, "random_start", lambda *a: judged(0.0, 0, next(made)))
    monkeypatch.setattr(starts, "consensus_update", lambda s, *a: replace(s, update=s.update + 1))
    monkeypatch.setattr(
        starts, "held_out_evidence", lambda s, *a: torch.tensor([scores[int(s.maps[0, 0, 0, 0])]])
    )
    monkeypatch.setattr(starts, "agreement", lambda *a: shared)
    return small_context(small_set()[0], restarts=len(scores))


def test_the_weaker_half_is_dropped_at_the_end_of_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    run = stubbed(monkeypatch, {0: 3.0, 1: 9.0, 2: 1.0, 3: 7.0}, shared=0.3)
    state = opened(run, 4)
    assert not agreed(state)
    assert [record["restart"] for record in state.history] == [0, 1, 2, 3]
    state = raced(state, run, 2)
    assert state.start_labels == (1, 3)
    assert [s.log_evidence for s in state.starts] == [9.0, 7.0]
    assert not decided(state, run.config.start_updates)
    # The better one goes on from where it is.
    state = replace(race_pass(state, run), passes=3)
    assert state.start_labels == (1,)
    assert state.starts[0].update == 3 * run.config.start_updates


def test_two_starts_that_agree_end_the_opening_and_the_better_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = stubbed(monkeypatch, {0: 8.0, 1: 9.0, 2: 1.0, 3: 7.0}, shared=0.8)
    state = opened(run, 2)
    assert agreed(state)
    state = raced(state, run, 1)
    assert state.start_labels == (1,)
    assert state.starts[0].update == 2 * run.config.start_updates
    assert decided(state, run.config.start_updates)


def test_a_start_agrees_with_its_mirror_image_turned_and_not_with_noise() -> None:
    """What two starts have in common does not depend on frame or hand; blobs of noise have nothing above."""
    box, radius = 32, 12
    noise = torch.randn(2, box, box, box, generator=torch.Generator().manual_seed(3))
    within = soft_sphere(box, 9.0)
    low = [real_map(fourier_map(n) * torch.exp(-((radius_grid(box) / 8.0) ** 2))) * within for n in noise]
    turn = rotation_from_vector(torch.tensor([[0.7, -1.1, 0.4]])).float()
    moved = move_maps(mirrored(low[0])[None], Motion(turn, torch.tensor([[1.0, 0.0, -1.0]])))
    one, same, other = (
        replace(judged(1.0, 5), maps=m.view(1, box, box, box)) for m in (low[0], moved, low[1])
    )
    assert starts.agreement(one, same, radius) > 0.75
    assert starts.agreement(one, other, radius) < 0.35
    assert starts.agreement(one, same, 8) == 0.0


def test_a_race_of_real_starts_is_repeatable_and_learns() -> None:
    """Evidence of images that were not learned from is positive and grows with the rounds."""
    first, second = (raced(opened(context(), 2), context(), race_length(2)) for _ in range(2))
    assert torch.equal(first.starts[0].maps, second.starts[0].maps)
    evidence = [record["log_evidence"] for record in first.history]
    assert evidence[-1] > max(evidence[:2]) > 0
    assert first.starts[0].update == 3 * 5


def test_the_radius_marches_from_start_to_end_and_stays() -> None:
    config = context().consensus
    radii = [radius_at(update, config) for update in range(20)]
    assert radii[0] == config.radius_start_px
    assert radii[-1] == config.radius_end_px
    assert radii == sorted(radii)


@pytest.mark.parametrize("box", [12, 13])
def test_spherical_average_is_radial_and_keeps_the_mean_of_shells(box: int) -> None:
    maps = torch.randn(2, box, box, box, generator=torch.Generator().manual_seed(box))
    found = spherical_average(maps)
    shells = radius_grid(box).round().long()
    for shell in range(int(shells.max()) + 1):
        here = found[:, shells == shell]
        torch.testing.assert_close(here.min(1).values, here.max(1).values)
        torch.testing.assert_close(here.mean(1), maps[:, shells == shell].mean(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(spherical_average(found), found, rtol=1e-4, atol=1e-5)
    turned = found.rot90(1, (1, 2)) if box % 2 else None
    if turned is not None:
        torch.testing.assert_close(turned, found)


@pytest.mark.parametrize("assignment", ["soft", "hard"])
@pytest.mark.parametrize("annealing", [True, False])
def test_starts_weigh_poses_as_they_are_told(
    assignment: str, annealing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hard start gives each image to its best pose; one without annealing takes the noise as it is."""
    run = small_context(small_set()[0], assignment=assignment, annealing=annealing)
    weights, told = [], []
    real = consensus.expect

    def watched(state, images, rows, radius_px, annealed=False, temperature=1.0):
        told.append(annealed)
        for part, found, rest in real(state, images, rows, radius_px, annealed, temperature):
            weights.append(found.best_weight)
            yield part, found, rest

    monkeypatch.setattr(consensus, "expect", watched)
    learning = torch.arange(len(run.cache))
    start = consensus.random_start(run.polar, run.consensus, learning, run.generator(1))
    consensus.consensus_update(start, run.polar, run.consensus, learning)
    assert told == [annealing]
    sharp = float(torch.cat(weights).median())
    assert sharp > 0.99 if assignment == "hard" else sharp < 0.9

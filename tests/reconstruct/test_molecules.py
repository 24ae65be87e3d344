"""Several molecules in one stack: unrelated ones of a few blobs each, sorted and weighed against states."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from _small_runs import true_model
from torch import Tensor

from nunatak.geometry.rotations import random_rotations
from nunatak.metrics.pose_error import align_frames
from nunatak.particles.cache import build_cache
from nunatak.particles.truth import Truth
from nunatak.reconstruct import molecules
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.consensus import ConsensusState
from nunatak.reconstruct.model import maximize
from nunatak.reconstruct.molecule_stages import (
    GROUPS,
    LEAST_DIMENSIONS,
    are_several,
    choose_pass,
    dissolve_pass,
    may_be_several,
    some_is_doubtful,
    sort_pass,
)
from nunatak.reconstruct.passes import CLASSES, COUNTED, finish_pass, scattered
from nunatak.reconstruct.recipes import ab_initio
from nunatak.reconstruct.starts import compared_radius
from nunatak.reconstruct.state import Context, RunState
from nunatak.runs.checkpoint import load_checkpoint, save_checkpoint
from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.dataset import simulate_particles
from nunatak.volumes.alignment import Motion, move_maps
from nunatak.volumes.maps import change_box, mirrored
from nunatak.volumes.wiener import empty_sums

BOX = 32
"""Each of two halves of the built-in molecule is a molecule by itself."""
SETTINGS = EngineConfig(radius_end_px=14, start_batch=60, seed=1, latent_dim="auto")


@lru_cache(maxsize=1)
def two_molecules() -> tuple[Context, Truth]:
    """Images of two molecules that share nothing: one block each of an assembly, moved to the centre."""
    config = SimulationConfig(
        particles=640, box_px=BOX, snr=1.0, seed=2, motion="assembly", blocks=2, assembly_states=("A", "B")
    )
    particles, truth = simulate_particles(config)
    return Context(build_cache(particles, sign=1, circle_px=0.42 * BOX), SETTINGS), truth


def start_of(volume: Tensor, context: Context) -> ConsensusState:
    """A start that has ended at a map of the truth."""
    config = context.consensus
    maps = change_box(volume[None], context.polar.box_px)
    return ConsensusState(
        maps,
        empty_sums(config.radius_end_px, 1),
        config.march_updates,
        1.0,
        0.0,
        torch.ones(config.radius_end_px + 1),
    )


def scaled_truth(context: Context, truth: Truth) -> Tensor:
    """(states, b, b, b) maps in the units of the normalised images, from the images at their true poses."""
    maps = []
    for label in range(2):
        model = true_model(context, truth, 14)
        model = replace(model, sound=truth.labels == label)
        maps.append(maximize(model, context.cache, 14, context.mask_fraction, True).maps[0, 0])
    return torch.stack(maps)


@lru_cache(maxsize=1)
def true_starts() -> tuple[ConsensusState, ...]:
    context, truth = two_molecules()
    return tuple(start_of(volume, context) for volume in scaled_truth(context, truth))


def wrong_states(context: Context, truth: Truth) -> RunState:
    """What one map makes of two molecules: random poses, and latents that tell nothing."""
    model = true_model(context, truth, 14)
    turned = random_rotations(len(truth.labels), torch.Generator().manual_seed(3))
    model = replace(model, candidates=replace(model.candidates, rotations=turned))
    model = scattered(model, LEAST_DIMENSIONS + 1, context)
    return RunState(model=maximize(model, context.cache, 10, context.mask_fraction, True))


def divided_by(starts: tuple[ConsensusState, ...], context: Context) -> dict[str, object]:
    """What the stages keep of some starts."""
    division = molecules.divided(starts, context)
    return {"starts": starts, "division": division, "refused": (), "tried": 0, "left": (0,)}


def test_shares_are_those_that_fit() -> None:
    generator = torch.Generator().manual_seed(0)
    label = (torch.rand(4000, generator=generator) < 0.3).long()
    evidence = torch.randn(4000, 2, generator=generator)
    evidence[torch.arange(4000), label] += 3.0
    none = torch.zeros_like(evidence).long()
    found = molecules.with_weights(molecules.Division(evidence, none, none, torch.ones(2)))
    assert torch.allclose(found.weights, torch.tensor([0.7, 0.3]), atol=0.05)


def test_a_map_that_says_what_another_says_is_dropped() -> None:
    generator = torch.Generator().manual_seed(1)
    label = torch.randint(3, (3000,), generator=generator)
    evidence = torch.randn(3000, 3, generator=generator)
    evidence[torch.arange(3000), label] += 8.0
    twice = torch.cat([evidence, evidence[:, :1] - 0.5], 1)
    none = torch.zeros_like(twice).long()
    division = molecules.with_weights(molecules.Division(twice, none, none, torch.ones(4)))
    assert molecules.needed(division, torch.arange(3000)) == [0, 1, 2]


def test_maps_that_agree_in_any_frame_and_hand_are_one_molecule() -> None:
    context, _ = two_molecules()
    first, second = true_starts()
    turn = random_rotations(1, torch.Generator().manual_seed(5))[0]
    moved = move_maps(first.maps, Motion(turn[None], torch.zeros(1, 3)))
    turned, other_hand = replace(first, maps=moved), replace(first, maps=mirrored(first.maps))
    assert compared_radius(context) >= 10
    kept = molecules.distinct((turned, first, second, other_hand), [10, 30, 20, 5], context)
    assert kept == [1, 2]


def test_images_go_to_their_molecule() -> None:
    context, truth = two_molecules()
    division = molecules.divided(true_starts(), context)
    right = (division.responsibilities.argmax(1) == truth.labels).float().mean()
    # Measured 0.99.
    assert float(right) > 0.95


def test_molecules_are_taken_where_states_explain_less() -> None:
    """From maps of the truth and poses that are wrong: molecules, and poses, of nearly every particle."""
    context, truth = two_molecules()
    state = wrong_states(context, truth)
    state = replace(state, kept={COUNTED: 6, GROUPS: divided_by(true_starts(), context)})
    chosen = choose_pass(state, context)
    record = chosen.history[-1]
    assert record["molecules"] == 2
    assert record["evidence_of_molecules"] > record["evidence_of_states"] + 10
    assert are_several(chosen)
    assert GROUPS not in chosen.kept
    assert float((chosen.kept[CLASSES] == truth.labels).float().mean()) > 0.97
    rotations = chosen.oriented.candidates.rotations.double().numpy()
    for label in range(2):
        rows = np.flatnonzero(truth.labels.numpy() == label)
        errors = align_frames(rotations[rows], truth.rotations.double().numpy()[rows]).error_deg
        assert float(np.median(errors)) < 6
    finished = finish_pass(chosen, context)
    # With the map of its own molecule a pose is certain; with the mean of both it would not be.
    assert float(finished.confidence.median()) > 0.9


def test_states_stay_where_they_explain_as_much() -> None:
    """Two maps that are copies of one molecule, and that molecule at its true poses."""
    context, truth = two_molecules()
    one = replace(context)
    one.__dict__["sound"] = truth.labels == 0
    model = replace(true_model(one, truth, 14), sound=truth.labels == 0)
    model = scattered(model, 1, one)
    model = replace(model, candidates=replace(model.candidates, latents=0 * model.candidates.latents))
    first, _ = true_starts()
    other = replace(first, maps=mirrored(first.maps))
    state = RunState(model=model, kept={COUNTED: 6, GROUPS: divided_by((first, other), one)})
    chosen = choose_pass(state, one)
    assert chosen.history[-1]["molecules"] == 1
    assert not are_several(chosen)
    assert torch.equal(chosen.oriented.candidates.rotations, model.candidates.rotations)


def test_sorting_keeps_one_map_of_each_molecule_and_lets_it_learn() -> None:
    context, truth = two_molecules()
    first, second = true_starts()
    starts = first, second, replace(first, maps=mirrored(first.maps))
    labels = truth.labels.clone()
    labels[(truth.labels == 0) & (torch.arange(len(labels)) % 3 == 0)] = 2
    groups = {"labels": labels, "starts": starts, "sizes": torch.bincount(labels).tolist()}
    found = sort_pass(RunState(kept={GROUPS: groups}), context)
    left = found.kept[GROUPS]["starts"]
    assert len(left) == 2
    assert found.history[-1]["maps"] == 2
    assert sorted(found.history[-1]["populations"]) == pytest.approx([0.5, 0.5], abs=0.1)
    assert all(start.update > first.update for start in left)


def test_a_second_map_of_a_molecule_is_dissolved_and_two_molecules_are_not() -> None:
    """A worse map of the first molecule, from a third of its images, takes some of them for itself."""
    context, truth = two_molecules()
    first, second = true_starts()
    third = (truth.labels == 0) & (torch.arange(640) % 3 == 0) & ~molecules.held_out(context)
    model = replace(true_model(context, truth, 14), sound=third)
    worse = maximize(model, context.cache, 10, context.mask_fraction, True).maps[0, 0]
    starts = first, second, start_of(worse, context)
    state = RunState(kept={COUNTED: 6, GROUPS: divided_by(starts, context)})
    assert some_is_doubtful(state)
    found = dissolve_pass(state, context)
    assert len(found.kept[GROUPS]["starts"]) == 2
    assert found.kept[GROUPS]["left"] == ()
    owner = found.kept[GROUPS]["division"].responsibilities.argmax(1)
    right = float((owner == truth.labels).float().mean())
    assert max(right, 1 - right) > 0.95


def test_only_many_dimensions_are_looked_at() -> None:
    few, many = (RunState(kept={COUNTED: n}) for n in (LEAST_DIMENSIONS, LEAST_DIMENSIONS + 1))
    assert not may_be_several(few)
    assert may_be_several(many)
    names = [stage.name for stage in ab_initio(EngineConfig(most_molecules=1)).stages]
    assert "which molecules there are" not in names


def test_a_run_that_is_stopped_while_it_sorts_goes_on(tmp_path: Path) -> None:
    context, _ = two_molecules()
    state = RunState(kept={COUNTED: 6, GROUPS: divided_by(true_starts(), context)})
    save_checkpoint(tmp_path, state, 1.0)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    found, expected = loaded[0].kept[GROUPS], state.kept[GROUPS]
    assert torch.equal(found["division"].evidence, expected["division"].evidence)
    assert torch.equal(found["division"].pose_rows, expected["division"].pose_rows)
    assert torch.equal(found["starts"][1].maps, expected["starts"][1].maps)
    assert some_is_doubtful(loaded[0])

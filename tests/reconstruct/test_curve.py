"""Maps that follow a large motion."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from nunatak.geometry.rotations import geodesic_deg, rotation_from_vector
from nunatak.metrics.fsc import area_under_fsc, fourier_shell_correlation
from nunatak.metrics.latent_score import score_latents
from nunatak.particles.cache import build_cache
from nunatak.particles.truth import Truth
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.curve import STATES, curve_pass, latents_pass, states_pass
from nunatak.reconstruct.loop import run
from nunatak.reconstruct.passes import LANDSCAPE
from nunatak.reconstruct.recipes import fixed_poses
from nunatak.reconstruct.state import Context, RunState
from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.dataset import simulate_particles
from nunatak.volumes.fsc import shell_correlation
from nunatak.volumes.maps import change_box


@lru_cache(maxsize=1)
def swinging() -> tuple[Context, Truth, RunState, RunState]:
    """A molecule whose arm swings by 120 degrees, poses given: runs with linear maps and with curved ones."""
    config = SimulationConfig(
        particles=1500, box_px=32, snr=0.5, motion="hinge", hinge_degrees=60.0, states=20, seed=1
    )
    given, truth = simulate_particles(config)
    cache = build_cache(given, sign=1, circle_px=13)
    settings = EngineConfig(latent_dim=3, grow_passes=8)
    context = Context(cache, settings, truth.poses)
    linear = settings.model_copy(update={"landscape_functions": 0})
    states = [run(fixed_poses(s), replace(context, config=s)) for s in (linear, settings)]
    return context, truth, *states


def mean_fsc_area(volumes: Tensor, truth: Truth, rows: range) -> float:
    found = [
        area_under_fsc(fourier_shell_correlation(v.numpy(), truth.volumes[truth.labels[row]].numpy()))
        for v, row in zip(change_box(volumes, truth.box_px), rows, strict=True)
    ]
    return float(np.mean(found))


def test_curved_maps_are_nearer_the_truth_than_linear_ones_and_these_than_the_mean() -> None:
    _, truth, flat, curved = swinging()
    rows = range(0, 1500, 50)
    latents = flat.oriented.candidates.latents[list(rows)]
    linear = flat.maps[0] + torch.einsum("nq,qzyx->nzyx", latents, flat.maps[1:])
    kept = curved.kept[LANDSCAPE]
    values = kept["landscape"].functions(curved.oriented.candidates.latents[list(rows)])
    bent = kept["maps"][0] + torch.einsum("nk,kzyx->nzyx", values, kept["maps"][1:])
    mean = mean_fsc_area(flat.maps[:1].expand(len(rows), -1, -1, -1), truth, rows)
    areas = mean, mean_fsc_area(linear, truth, rows), mean_fsc_area(bent, truth, rows)
    # Measured 0.440, 0.459 and 0.464.
    assert areas[1] > areas[0] + 0.01
    assert areas[2] > areas[1] + 0.003


def test_half_maps_along_the_landscape_are_of_the_half_sets() -> None:
    """They agree better with each other at low than at high frequency, and are not the same map."""
    _, _, _, curved = swinging()
    halves = curved.kept[LANDSCAPE]["halves"]
    assert halves.shape[0] == 2
    correlation = shell_correlation(halves[0], halves[1])
    assert float(correlation[0, 2:5].mean()) > 0.95
    assert float(correlation[0, -3:].mean()) < 0.9


def test_a_run_without_functions_keeps_no_landscape() -> None:
    _, _, flat, _ = swinging()
    assert LANDSCAPE not in flat.kept


def test_poses_against_maps_along_the_landscape_come_nearer_the_truth() -> None:
    """From poses that are 3 degrees off, with latents that were found at the right ones."""
    context, truth, flat, _ = swinging()
    model = flat.oriented
    off = torch.randn(len(model.candidates), 3, generator=torch.Generator().manual_seed(2)) * 0.03
    turned = (rotation_from_vector(off.double()) @ truth.poses.rotations.double()).float()
    start = replace(flat, model=replace(model, candidates=replace(model.candidates, rotations=turned)))
    errors = [geodesic_deg(turned, truth.poses.rotations).median()]
    state = start
    for _ in range(2):
        state = states_pass(state, context)
        errors.append(geodesic_deg(state.oriented.candidates.rotations, truth.poses.rotations).median())
    # Measured 2.59, 1.74 and 1.94 degrees.
    assert errors[1] < 0.85 * errors[0]
    assert errors[2] < 0.8 * errors[0]
    assert STATES in state.kept
    assert STATES not in curve_pass(state, context).kept


def test_states_along_the_landscape_are_nearer_the_truth_than_in_the_plane() -> None:
    _, truth, flat, curved = swinging()
    views = truth.poses.rotations[:, 2].numpy()
    scores = [
        score_latents(
            state.oriented.candidates.latents.numpy(), truth.labels.numpy(), truth.coordinates.numpy(), views
        )
        for state in (flat, curved)
    ]
    # Measured 0.987 and 0.996.
    assert scores[1].knn > scores[0].knn + 0.003
    # Poses that are given stay.
    assert torch.equal(curved.oriented.candidates.rotations, flat.oriented.candidates.rotations)
    latents = curved.oriented.posterior
    moment = latents.means.T @ latents.means / len(latents.means) + latents.covariances.mean(0)
    assert torch.allclose(moment, torch.eye(3), atol=0.01)


def test_maps_of_all_particles_tell_states_better_than_those_of_half_sets() -> None:
    """Where images are few and noisy, poses given."""
    config = SimulationConfig(
        particles=600, box_px=24, snr=0.08, motion="hinge", hinge_degrees=60.0, states=20, seed=1
    )
    given, truth = simulate_particles(config)
    settings = EngineConfig(latent_dim=2, grow_passes=5, landscape_functions=0)
    context = Context(build_cache(given, sign=1, circle_px=10), settings, truth.poses)
    flat = run(fixed_poses(settings), context)
    context = replace(context, config=settings.model_copy(update={"landscape_functions": 8}))
    by_halves = states_pass(flat, context, held=True)
    by_all = latents_pass(by_halves, context, held=True)
    views = truth.poses.rotations[:, 2].numpy()
    flat_score, halves_score, all_score = (
        score_latents(
            state.oriented.candidates.latents.numpy(), truth.labels.numpy(), truth.coordinates.numpy(), views
        ).knn
        for state in (flat, by_halves, by_all)
    )
    # Measured 0.746, 0.758 and 0.795.
    assert halves_score > flat_score
    assert all_score > halves_score + 0.015
    assert torch.equal(by_all.oriented.candidates.rotations, by_halves.oriented.candidates.rotations)


def test_stages_for_no_latents_have_no_landscape() -> None:
    names = [stage.name for stage in fixed_poses(EngineConfig(latent_dim=0)).stages]
    assert "maps along the landscape" not in names

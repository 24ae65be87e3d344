"""How many dimensions two halves of the data find by themselves; stages that this decides about."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from _small_runs import small_context, small_set, true_model

from nunatak.particles.cache import build_cache
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.dimensions import LEAST_CORRELATION, by_halves, count_pass, shared_directions
from nunatak.reconstruct.loop import run
from nunatak.reconstruct.passes import COUNTED
from nunatak.reconstruct.recipes import ab_initio, fixed_poses
from nunatak.reconstruct.stages import Plan, Stage
from nunatak.reconstruct.state import Context, RunState
from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.dataset import simulate_particles
from nunatak.volumes.tangents import nuisance_maps

BOX, RADIUS = 20, 8


def smooth(count: int, seed: int) -> torch.Tensor:
    """(n, d, d, d) random maps with no frequency beyond the radius, in a blob about the origin."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.arange(BOX) - BOX // 2
    square = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).float()
    noise = torch.randn(count, BOX, BOX, BOX, generator=generator)
    kernel = torch.exp(-0.5 * square / 1.5**2)
    spread = torch.fft.fftn(torch.fft.ifftshift(kernel))
    blurred = torch.fft.ifftn(torch.fft.fftn(noise, dim=(1, 2, 3)) * spread, dim=(1, 2, 3)).real
    return blurred * torch.exp(-0.5 * square / 4.0**2)


def test_directions_that_both_halves_found_are_shared_whatever_their_basis() -> None:
    mean, common, other = smooth(1, 0), smooth(2, 1), smooth(2, 2)
    # Far from the blob, where those of the first half have nothing.
    elsewhere = smooth(2, 3).roll((BOX // 2, BOX // 2), (1, 2))
    mixed = torch.tensor([[0.6, -1.0], [2.0, 0.3]])
    turned = torch.einsum("ij,jzyx->izyx", mixed, common)
    halves = torch.stack([torch.cat([mean, common, other]), torch.cat([mean, turned, elsewhere])])
    found = shared_directions(halves, RADIUS)
    assert float(found[1]) > 0.98
    assert float(found[2]) < LEAST_CORRELATION / 2


def test_errors_of_pose_and_contrast_are_not_shared_directions() -> None:
    mean = smooth(1, 0)
    wrong = nuisance_maps(mean[0], RADIUS)[torch.tensor([1, 4, 7])]
    found = shared_directions(torch.cat([mean, wrong]).expand(2, -1, -1, -1, -1), RADIUS)
    assert float(found.max()) < 0.01


def counted(motion: str, seed: int, **more: object) -> RunState:
    config = SimulationConfig(
        particles=1500, box_px=32, snr=0.2, motion=motion, seed=seed, contrast_sd=0.1, **more
    )
    given, truth = simulate_particles(config)
    context = small_context(build_cache(given, sign=1, circle_px=13), latent_dim="auto", radius_end_px=14)
    return count_pass(RunState(model=true_model(context, truth, 10)), context)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_rigid_molecule_has_no_dimension(seed: int) -> None:
    """Measured 0.29 and 0.25, at most 0.32 over three seeds."""
    state = counted("rigid", seed)
    assert state.kept[COUNTED] == 0
    assert max(state.history[-1]["shared_directions"]) < LEAST_CORRELATION - 0.05


def test_a_swing_has_some_and_one_is_added() -> None:
    """Measured 0.86, 0.75, then 0.28."""
    state = counted("hinge", 0, hinge_degrees=40.0)
    assert state.history[-1]["dimensions"] == 2
    assert state.kept[COUNTED] == 3
    assert state.history[-1]["shared_directions"][0] > 0.75


def test_latents_of_a_half_are_white_in_a_gauge_of_its_own() -> None:
    cache, truth = small_set()
    model = true_model(small_context(cache), truth, 6, 2)
    latents = torch.randn(len(cache), 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5])
    maps = torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    model = replace(model, candidates=replace(model.candidates, latents=latents), maps=maps)
    found = by_halves(model)
    for half in (0, 1):
        rows = model.halves == half
        own = found.candidates.latents[rows]
        torch.testing.assert_close(own.T @ own / len(own), torch.eye(2), rtol=0, atol=1e-3)
        before = maps[half, 0] + torch.einsum("nq,qzyx->nzyx", latents[rows], maps[half, 1:])
        after = found.maps[half, 0] + torch.einsum("nq,qzyx->nzyx", own, found.maps[half, 1:])
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)


def test_a_stage_that_does_not_apply_is_left_out() -> None:
    def note(name: str):
        return lambda state, context: replace(state, history=(*state.history, {"did": name}))

    stages = (
        Stage("first", note("first"), 1),
        Stage("never", note("never"), 2, applies=lambda state: False),
        Stage("after one", note("after one"), 2, applies=lambda state: len(state.history) == 1),
    )
    cache, _ = small_set()
    state = run(Plan("test", "", stages), Context(cache, EngineConfig()))
    # Once begun a stage goes on, also where it no longer would begin.
    assert [record["did"] for record in state.history] == ["first", "after one", "after one"]


@pytest.mark.parametrize("plan", [ab_initio, fixed_poses])
def test_dimensions_are_counted_only_where_they_are_not_given(plan) -> None:
    name = "counting dimensions"
    assert name in [stage.name for stage in plan(EngineConfig()).stages]
    for given in (0, 3):
        assert name not in [stage.name for stage in plan(EngineConfig(latent_dim=given)).stages]


@pytest.mark.parametrize("found", [0, 3])
def test_what_was_counted_decides_about_the_stages_with_latents(found: int) -> None:
    state = RunState(kept={COUNTED: found})
    applying = [stage.name for stage in ab_initio(EngineConfig()).stages if stage.applies(state)]
    assert ("poses and latents" in applying) == (found > 0)
    assert ("maps along the landscape" in applying) == (found > 0)
    assert ("refinement" in applying) == (found == 0)
    assert not any(name.endswith("in one frame") for name in applying)
    assert applying[-1] == "final maps and confidence"

"""Passes that train volumes, on images so small that they take a second."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from _small_runs import small_context, small_set, true_model

from nunatak.core.errors import InputError
from nunatak.geometry.poses import Poses
from nunatak.latent.gauge import ungauged
from nunatak.latent.subspace import Gauge
from nunatak.reconstruct import neural_recipes
from nunatak.reconstruct.autodecoder import (
    LatentTable,
    drawn_table,
    gradient_pass,
    held_pass,
    latent_leaves,
    move_latents,
    pretrain_pass,
    search_epochs,
    search_pass,
    table_pass,
)
from nunatak.reconstruct.autoencoder import autoencoder_pass, embed_pass, encoded_posterior
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.judgement import judge_pass
from nunatak.reconstruct.loop import Progress, run
from nunatak.reconstruct.model import Model, maximize, without_latents
from nunatak.reconstruct.neural_model import divergence_weight, learning_rate, resumed
from nunatak.reconstruct.neural_views import misfit, white_images
from nunatak.reconstruct.recipes import RECIPES
from nunatak.reconstruct.refit import refit_pass
from nunatak.reconstruct.searching import hierarchical_config
from nunatak.reconstruct.stages import Plan, PoseSource
from nunatak.reconstruct.state import Context, RunState
from nunatak.runs.checkpoint import load_checkpoint, save_checkpoint
from nunatak.search.hierarchical import HierarchicalConfig
from nunatak.volumes.making import field_with, plan_from_text

TINY = {
    "latent_dim": 2,
    "decoder_width": 16,
    "decoder_layers": 1,
    "decoder_rank": 3,
    "encoder_width": 16,
    "encoder_layers": 1,
    "epochs": 2,
    "batch": 20,
    "search_images": 160,
    "pretrain_images": 160,
    "plane_copies": 2,
    "encoder_channels": 4,
    "encoder_radius_px": 4,
    "polish_epochs": 2,
    "encoder_images": 100,
    "self_passes": 1,
    "l_start": 4,
    "l_end": 7,
    "n_iter": 2,
    "t_extent": 2.0,
    "t_n_grid": 2,
    "base_healpy": 1,
    "bank_latents": 3,
    "bank_cell": 40,
}


def tiny(decoder: str = "grid", with_poses: bool = False, **changes: object) -> Context:
    cache, truth = small_set()
    context = small_context(cache, **(TINY | {"decoder": decoder} | changes))
    poses = Poses(truth.rotations, truth.shifts_A) if with_poses else None
    return replace(context, poses=poses)


@lru_cache(maxsize=2)
def posed_state(latent_dim: int = 2) -> RunState:
    cache, truth = small_set()
    context = small_context(cache)
    return RunState(model=true_model(context, truth, 7))


def without_verdict(plan: Plan) -> Plan:
    """What so few images show is no structure; these tests are of the passes behind that verdict."""
    return replace(plan, stages=tuple(stage for stage in plan.stages if stage.advance is not judge_pass))


def same(first: RunState, second: RunState) -> bool:
    mine, theirs = first.kept["trained"]["parameters"], second.kept["trained"]["parameters"]
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize("decoder", ["grid", "network"])
@pytest.mark.parametrize("advance", [autoencoder_pass, held_pass], ids=["encoder", "table"])
def test_epochs_at_held_poses_explain_more_each_time(advance, decoder: str) -> None:
    context, state = tiny(decoder, epochs=6, learning_rate=3e-3), posed_state()
    for passes in range(6):
        state = advance(replace(state, passes=passes), context)
    told = [record["log_evidence"] for record in state.history]
    assert told[-1] > told[0] + 1
    assert told[-1] > 0.5 * max(told)


@pytest.mark.parametrize(("decoder", "encoder"), [("grid", "placed"), ("network", "image")])
def test_passes_are_pure_and_repeat_to_the_bit(decoder: str, encoder: str) -> None:
    """Nothing a pass does reaches the state that it was given; so a resumed run has the same numbers."""
    context = tiny(decoder, encoder=encoder)
    begun = autoencoder_pass(posed_state(), context)
    kept = {name: tensor.clone() for name, tensor in begun.kept["trained"]["parameters"].items()}
    moments = {name: tensor.clone() for name, tensor in begun.kept["trained"]["moments"].items()}
    first = autoencoder_pass(replace(begun, passes=1), context)
    assert all(torch.equal(begun.kept["trained"]["parameters"][name], kept[name]) for name in kept)
    assert all(torch.equal(begun.kept["trained"]["moments"][name], moments[name]) for name in moments)
    assert same(first, autoencoder_pass(replace(begun, passes=1), context))
    assert not same(first, begun)
    # Without the moments the numbers are others: they are what is to be kept, too.
    forgotten = {**begun.kept["trained"], "moments": {}}
    bare = replace(begun, passes=1, kept={**begun.kept, "trained": forgotten})
    assert not same(first, autoencoder_pass(bare, context))


def test_latents_end_in_their_gauge_and_the_decoder_takes_them() -> None:
    context = tiny()
    state = embed_pass(autoencoder_pass(posed_state(), context), context)
    latents, covariances = state.model.candidates.latents, state.model.covariances
    assert latents.shape == (80, 2)
    assert state.model.maps.shape[1] == 3
    torch.testing.assert_close(latents.mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    total = latents.T @ latents / 80 + covariances.mean(0)
    torch.testing.assert_close(total, torch.eye(2), atol=1e-3, rtol=0)
    training = resumed(state, context)
    rows = torch.arange(80)
    decoder = state.kept["decoder"]
    candidates = state.model.candidates
    own = encoded_posterior(training, context, (candidates.rotations, candidates.shifts_px)).means
    back = ungauged(latents[rows], Gauge(decoder["centre"], decoder["transform"]))
    torch.testing.assert_close(back, own, atol=1e-3, rtol=1e-3)


def test_tables_change_only_where_they_are_visited() -> None:
    context = tiny()
    table = drawn_table(context)
    before = table.latents.clone()
    rows = torch.tensor([3, 40, 7])
    leaves = latent_leaves(table, rows)
    (leaves.sum(1) * torch.tensor([1.0, -1.0, 1e-3])).sum().backward()
    move_latents(LatentTable(table.latents, table.moments), rows, leaves, 0.5)
    changed = (table.latents != before).any(1)
    assert changed.nonzero().flatten().tolist() == [3, 7, 40]
    assert table.moments.visits.sum() == 3
    # The first step has the length of the rate however large the gradient was.
    torch.testing.assert_close(
        (table.latents - before)[rows], torch.tensor([[-0.5], [0.5], [-0.5]]).expand(3, 2)
    )


@pytest.mark.parametrize("recipe", [r for r in neural_recipes.RECIPES], ids=lambda r: r.name)
@pytest.mark.parametrize("decoder", ["grid", "network"])
def test_recipes_run_to_the_end(recipe, decoder: str) -> None:
    given = recipe.poses is PoseSource.GIVEN
    width = 0 if recipe.name == "cryoai" else 2
    context = tiny(decoder, with_poses=given, latent_dim=width)
    state = run(without_verdict(recipe.plan(context.config)), context)
    assert state.model.candidates.latents.shape == (80, width)
    assert state.maps.shape[0] == 1 + width
    assert torch.isfinite(state.maps).all()
    assert ("decoder" in state.kept) == bool(width)
    assert len({record["stage"] for record in state.history}) >= 2


def test_homogeneous_runs_need_no_latents_but_encoders_do() -> None:
    context = tiny(latent_dim=0)
    by_name = {recipe.name: recipe for recipe in RECIPES}
    state = run(without_verdict(by_name["cryodrgn-ai"].plan(context.config)), context)
    assert state.maps.shape[0] == 1
    for name in ("cryodrgn", "cryodrgn2", "cryofire"):
        with pytest.raises(InputError, match="latent-dim is 0"):
            by_name[name].plan(context.config).check(context.config, None)


def test_the_gradient_passes_keep_poses_on_their_manifold() -> None:
    context = tiny()
    state = pretrain_pass(RunState(), context)
    state = search_pass(state, context)
    before = state.model.candidates.rotations
    state = gradient_pass(state, context)
    rotations = state.model.candidates.rotations
    torch.testing.assert_close(
        rotations @ rotations.transpose(1, 2), torch.eye(3).expand(80, 3, 3), atol=1e-5, rtol=0
    )
    assert float((rotations - before).abs().max()) > 1e-4
    assert int(state.kept["trained"]["pose_moments"]["turning"]["visits"].min()) == 1
    state = table_pass(gradient_pass(replace(state, passes=1), context), context)
    assert int(state.kept["trained"]["pose_moments"]["turning"]["visits"].min()) == 2
    assert state.model.latent_dim == 2


def test_published_numbers_are_the_defaults() -> None:
    assert hierarchical_config(EngineConfig(), 99, 128) == HierarchicalConfig()
    assert hierarchical_config(EngineConfig(), 99, 32).t_extent == 5
    assert search_epochs(EngineConfig(), 5000) == 30
    assert search_epochs(EngineConfig(), 1_000_000) == 2
    assert divergence_weight(EngineConfig(latent_dim=8)) == 1 / 8
    assert divergence_weight(EngineConfig(beta=0.0)) == 0
    assert divergence_weight(EngineConfig(latent_dim=8), 0) == 0
    assert divergence_weight(EngineConfig(latent_dim=8), 0.5) == 1 / 8


def test_the_learning_rate_falls_along_a_cosine() -> None:
    rates = [learning_rate(2.0, progress) for progress in (0, 0.25, 0.5, 0.75, 1, 2)]
    assert rates[0] == 2
    assert rates[4] == rates[5] == pytest.approx(0.02)
    assert rates[2] == pytest.approx(1.01)
    assert all(a > b for a, b in itertools.pairwise(rates[:5]))


@pytest.mark.parametrize("name", ["cryodrgn", "cryodrgn-ai", "cryofire"])
def test_a_run_stopped_after_every_pass_ends_the_same(name: str, tmp_path: Path) -> None:
    recipe = next(recipe for recipe in RECIPES if recipe.name == name)
    given = recipe.poses is PoseSource.GIVEN
    straight = tiny(with_poses=given)
    plan = without_verdict(recipe.plan(straight.config))
    whole = run(plan, straight)
    state, passes = RunState(), 0
    while state.stage < len(plan.stages):
        begun = tiny(with_poses=given)
        try:
            state = run(plan, begun, state, [OnePass()])
        except StoppedError as stop:
            save_checkpoint(tmp_path, stop.state, 0.0)
            saved = load_checkpoint(tmp_path)
            state, passes = saved[0], passes + 1
    assert passes >= 5
    assert state.history == whole.history
    assert torch.equal(state.model.candidates.latents, whole.model.candidates.latents)
    assert torch.equal(state.model.candidates.rotations, whole.model.candidates.rotations)
    mine, theirs = state.kept["decoder"]["parameters"], whole.kept["decoder"]["parameters"]
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


class StoppedError(Exception):
    """The power went off after a pass."""

    def __init__(self, state: RunState) -> None:
        super().__init__()
        self.state = state


class OnePass:
    """A listener that lets one pass happen."""

    def on_progress(self, progress: Progress) -> None:
        """Not kept."""

    def on_pass(self, state: RunState, stage: str) -> None:
        raise StoppedError(state)


def test_maps_in_closed_form_explain_the_images_better() -> None:
    """At the same latents and mixing: the misfit of the images falls, and a network is left alone."""
    context, state = tiny(epochs=4), posed_state()
    for passes in range(4):
        state = held_pass(replace(state, passes=passes), context)
    state = table_pass(state, context)
    better = refit_pass(replace(state, model=maximized(state, context)), context)
    misfits = [float(mean_misfit(some, context)) for some in (state, better)]
    assert misfits[1] < misfits[0]
    with_network = tiny("network")
    trained = table_pass(held_pass(posed_state(), with_network), with_network)
    assert refit_pass(trained, with_network) is trained


def maximized(state: RunState, context: Context) -> Model:
    """The model with half maps: how far they agree says how far the maps may go."""
    latents = state.model
    made = maximize(without_latents(latents), context.cache, 7, context.mask_fraction, False)
    return replace(latents, correlation=torch.cat([made.correlation, latents.correlation.new_zeros(2, 8)]))


def mean_misfit(state: RunState, context: Context) -> torch.Tensor:
    """Of all images with the trained volume at their latents and true poses."""
    kept, own = state.kept["decoder"], state.model.candidates
    field = field_with(plan_from_text(kept["plan"]), kept["parameters"])
    images = white_images(context.cache, torch.arange(80), 7, state.model.noise_variance)
    latents = ungauged(own.latents, Gauge(kept["centre"], kept["transform"]))
    with torch.no_grad():
        slices = field.slices(own.rotations, images.frequencies, latents)
    return misfit(images.centred(own.shifts_px), images.transfer, slices).mean()

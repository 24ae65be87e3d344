"""The same code on another device: every pass keeps to its images' device, and agrees with the kernels.

No GPU is needed: tensors only claim to be on one (_pretended_gpu), and what runs on them is what runs on a
GPU, plain torch in place of the compiled kernels. Where there is one, tests of numbers run on it too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _pretended_gpu import GPU, is_pretended, pretended_gpu
from _small_runs import small_context, small_set
from _states import Passes, check_close, check_same_pass, tensors_of

from nunatak.core import device as devices
from nunatak.core.device import (
    CPU,
    choose_device,
    free_bytes,
    limit_gpu_memory,
    rows_that_fit,
    to_device,
)
from nunatak.core.errors import InputError
from nunatak.geometry.poses import Poses
from nunatak.geometry.rotations import geodesic_deg
from nunatak.projection.gridding import block_from_maps
from nunatak.reconstruct import consensus, fixed, orient
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.loop import run
from nunatak.reconstruct.recipes import Recipe, ab_initio, fixed_poses
from nunatak.reconstruct.state import Context, RunState
from nunatak.runs.checkpoint import load_checkpoint, save_checkpoint
from nunatak.runs.execute import start_run
from nunatak.runs.job import InputConfig, JobConfig
from nunatak.search import cyclic_kernels, hierarchical
from nunatak.search.candidates import ImageSamples
from nunatak.search.hierarchical import HierarchicalConfig, KeptPoses, hierarchical_search, polar_batch
from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.write import write_simulation

HOMOGENEOUS = {"latent_dim": 0, "refine_passes": 1, "seed": 1}
HETEROGENEOUS = {"latent_dim": 2, "grow_passes": 1, "joint_passes": 1, "seed": 1}
SECOND_LOOK, HALF_SETS = 9, 10  # the stages of these names with these


def context_on(device: torch.device, poses: bool, changes: dict[str, int]) -> Context:
    cache, truth = small_set(80, 20, 2.0)
    context = small_context(to_device(cache, device), **changes)
    return replace(context, poses=Poses(truth.rotations, truth.shifts_A)) if poses else context


def recipe_of(context: Context) -> Recipe:
    return ab_initio(context.config) if context.poses is None else fixed_poses(context.config)


@lru_cache(maxsize=8)
def compiled_states(poses: bool, dtype: torch.dtype, **changes: int) -> list[RunState]:
    """The states of a run with the compiled kernels; `dtype` is what scoring_dtype was set to."""
    context, listener = context_on(CPU, poses, changes), Passes()
    run(recipe_of(context), context, None, [listener])
    return listener.states


def next_state(before: RunState, device: torch.device, poses: bool, changes: dict[str, int]) -> RunState:
    """The state after one pass that is made on a device."""
    context = context_on(device, poses, changes)
    return recipe_of(context).stages[before.stage].advance(to_device(before, device), context)


@pytest.fixture
def exact_scores(monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """Scores in float32 and every weight summed, where kernels leave out those under exp(-9) of the best.

    In bfloat16 the scores of a clear image are only known to one or two nats.
    """
    monkeypatch.setattr(cyclic_kernels, "significant_scores", lambda scores, top: None)
    for module in (consensus, orient):
        monkeypatch.setattr(module, "scoring_dtype", lambda device: torch.float32)
    return torch.float32


@pytest.fixture(params=["pretended", "real"])
def some_gpu(request: pytest.FixtureRequest) -> Callable[..., AbstractContextManager[Any]]:
    """What makes the device "cuda" usable: a pretence, and nothing where it is real."""
    if request.param == "real" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    return pretended_gpu if request.param == "pretended" else nullcontext


def is_there(tensor: torch.Tensor) -> bool:
    return is_pretended(tensor) or tensor.is_cuda


@pytest.mark.parametrize(
    ("poses", "changes", "stages"),
    [
        (False, HOMOGENEOUS, [2, 3, 4]),
        (False, HETEROGENEOUS, [2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14]),
        (True, HOMOGENEOUS, [0, 1]),
        (True, HETEROGENEOUS, [0, 1, 2]),
    ],
    ids=["homogeneous", "heterogeneous", "given", "given-heterogeneous"],
)
def test_every_pass_keeps_to_its_device_and_agrees_with_the_kernels(
    exact_scores: torch.dtype,
    some_gpu: Callable[..., AbstractContextManager[Any]],
    poses: bool,
    changes: dict[str, int],
    stages: list[int],
) -> None:
    """The first pass of each stage, from the state that the kernels' run had before it."""
    states = compiled_states(poses, exact_scores, **changes)
    chosen = {before.stage: (before, after) for before, after in reversed([*pairwise(states)])}
    assert set(stages) <= set(chosen)
    for before, after in (chosen[stage] for stage in stages):
        with some_gpu():
            made = next_state(before, GPU, poses, changes)
            assert all(is_there(tensor) for _, tensor in tensors_of(made))
            hosted = to_device(made, CPU)
        # Two of the second look's 80 keep another pose on the other side of a kink, 5 and 23 nats apart.
        check_same_pass(hosted, after, 1.0 if before.stage == SECOND_LOOK else 0.1)


def test_starts_keep_to_their_device_and_agree_with_the_kernels(
    exact_scores: torch.dtype, some_gpu: Callable[..., AbstractContextManager[Any]]
) -> None:
    """A new start and one that goes on, five updates each. Measured: 2e-6 of the largest number apart."""
    states = compiled_states(False, exact_scores, **HETEROGENEOUS)
    for before, after in (states[0:2], states[2:4]):
        with some_gpu():
            made = next_state(before, GPU, False, HETEROGENEOUS)
            assert all(is_there(tensor) for _, tensor in tensors_of(made))
            hosted = to_device(made, CPU)
        check_close(hosted, after, 1e-4)


def test_starts_scored_in_bfloat16_agree_with_the_kernels(
    some_gpu: Callable[..., AbstractContextManager[Any]],
) -> None:
    """The GPU's type for scores. Measured: maps 0.3 % and evidence 0.2 % apart after five updates."""
    states = compiled_states(False, torch.bfloat16, **HOMOGENEOUS)
    with some_gpu():
        hosted = to_device(next_state(states[0], GPU, False, HOMOGENEOUS), CPU)
    mine, theirs = hosted.starts[0], states[1].starts[0]
    assert float((mine.maps - theirs.maps).abs().max()) < 0.03 * float(theirs.maps.abs().max())
    assert mine.log_evidence == pytest.approx(theirs.log_evidence, rel=0.01)


def kept_poses(device: torch.device) -> KeptPoses:
    """The best poses of a few images, searched against their true map."""
    cache, truth = small_set(24, 20, 2.0)
    context = replace(small_context(cache), poses=Poses(truth.rotations, truth.shifts_A))
    maps = fixed.given_poses_pass(RunState(), context).model.maps.mean(0)
    config = HierarchicalConfig(
        l_start=4, l_end=8, n_iter=2, t_extent=2, t_n_grid=3, n_kept_poses=4, base_healpy=1
    )
    cache, maps, plane = to_device((cache, maps, config.plane), device)
    weights = 2 / cache.background_power
    images = ImageSamples(cache.samples, cache.transfer, cache.plane)
    polar = polar_batch(images, cache.transfer_at(plane.frequencies), weights, config)
    found = hierarchical_search(block_from_maps(maps, 9), images, polar, weights, config)
    assert all(is_there(tensor) == (device == GPU) for _, tensor in tensors_of(found))
    return to_device(found, CPU)


def test_the_hierarchical_search_keeps_to_its_device_and_agrees_with_the_kernels(
    monkeypatch: pytest.MonkeyPatch, some_gpu: Callable[..., AbstractContextManager[Any]]
) -> None:
    monkeypatch.setattr(hierarchical, "scoring_dtype", lambda device: torch.float32)
    here = kept_poses(CPU)
    with some_gpu(1 << 24):
        there = kept_poses(GPU)
    torch.testing.assert_close(there.scores, here.scores, rtol=1e-4, atol=1e-2)
    assert float(geodesic_deg(there.best[0], here.best[0]).median()) < 0.01


def test_the_plain_path_on_the_cpu_is_the_path_on_the_gpu(
    monkeypatch: pytest.MonkeyPatch, exact_scores: torch.dtype
) -> None:
    """One function says who has kernels; with its answer turned round the CPU gives the very same numbers."""
    before = compiled_states(True, exact_scores, **HETEROGENEOUS)[0]
    with pretended_gpu():
        there = to_device(next_state(before, GPU, True, HETEROGENEOUS), CPU)
    monkeypatch.setattr(devices, "is_compiled", lambda tensor: False)
    check_close(next_state(before, CPU, True, HETEROGENEOUS), there, 0.0)


def test_little_memory_means_smaller_parts_and_the_same_numbers(exact_scores: torch.dtype) -> None:
    """A megabyte holds a few candidates at a time; sums are then added in another order."""
    every = compiled_states(False, exact_scores, **HETEROGENEOUS)
    before = next(state for state in every if state.stage == HALF_SETS)
    states, solutions = [], []
    for memory in (1 << 20, 1 << 30):
        with pretended_gpu(memory) as gpu:
            states.append(to_device(next_state(before, GPU, False, HETEROGENEOUS), CPU))
            solutions.append(gpu.calls["linalg_solve"])
    assert solutions[0] > 2 * solutions[1]
    check_same_pass(*states)


def test_a_run_goes_on_from_its_checkpoint_on_another_device(
    tmp_path: Path, some_gpu: Callable[..., AbstractContextManager[Any]]
) -> None:
    states = compiled_states(True, torch.bfloat16, **HETEROGENEOUS)
    save_checkpoint(tmp_path / "cpu", states[1], 1.0)
    with some_gpu():
        loaded, _ = load_checkpoint(tmp_path / "cpu", GPU)
        assert all(is_there(tensor) for _, tensor in tensors_of(loaded))
        grown = next_state(loaded, GPU, True, HETEROGENEOUS)
        save_checkpoint(tmp_path / "gpu", grown, 2.0)
    hosted, _ = load_checkpoint(tmp_path / "gpu")
    assert not any(is_there(tensor) for _, tensor in tensors_of(hosted))
    check_close(hosted, replace(states[2], stage=hosted.stage, passes=hosted.passes), 1e-4)


@pytest.fixture
def float_accumulation(monkeypatch: pytest.MonkeyPatch) -> Any:
    """torch's switch for sums of bfloat16 products, put back afterwards."""
    switch = torch.backends.cuda.matmul
    before = switch.allow_bf16_reduced_precision_reduction
    yield switch
    switch.allow_bf16_reduced_precision_reduction = before


def test_the_command_on_a_gpu_writes_what_it_writes_on_the_cpu(
    tmp_path: Path, float_accumulation: Any, some_gpu: Callable[..., AbstractContextManager[Any]]
) -> None:
    """From the star file to the run folder; only the images' way to the device and the results' way back."""
    write_simulation(tmp_path / "set", SimulationConfig(particles=80, box_px=20, snr=2.0))
    job = JobConfig(
        command="reconstruct",
        threads=1,
        input=InputConfig(particles=tmp_path / "set" / "truth.star"),
        engine=EngineConfig(latent_dim=0, healpix_order=1),
    )
    start_run(job.model_copy(update={"device": "cpu"}), tmp_path / "cpu", "here")
    with some_gpu() as gpu:
        start_run(job.model_copy(update={"device": "cuda"}), tmp_path / "gpu", "there")
    assert gpu is None or gpu.calls["index_add_"] > 0
    assert not float_accumulation.allow_bf16_reduced_precision_reduction
    for name in ("mean.mrc", "half1.mrc", "half2.mrc"):
        here, there = (np.fromfile(tmp_path / side / name, np.float32)[256:] for side in ("cpu", "gpu"))
        np.testing.assert_allclose(there, here, rtol=0, atol=1e-4 * np.abs(here).max())


def test_auto_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for present, found in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda present=present: present)
        assert choose_device("auto").type == found
        assert choose_device("cpu") == CPU
    assert choose_device("cuda").type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="torch sees no CUDA device"):
        choose_device("cuda")


def test_rows_are_taken_one_at_a_time_where_not_even_one_seems_to_fit() -> None:
    assert rows_that_fit(1 << 40, CPU) == 1
    assert rows_that_fit(1 << 20, CPU) == 512


def test_a_process_takes_no_more_of_a_gpu_than_it_may() -> None:
    with pretended_gpu(memory_bytes=80_000_000_000):
        assert free_bytes(GPU) == 80_000_000_000
        limit_gpu_memory(GPU, 4e9)
        assert free_bytes(GPU) == pytest.approx(3.4e9, rel=1e-6)
        limit_gpu_memory(GPU, 1e12)
        assert free_bytes(GPU) == 80_000_000_000
        limit_gpu_memory(GPU, 4e9)
        limit_gpu_memory(GPU, None)
        assert free_bytes(GPU) == 80_000_000_000


def test_the_pretence_refuses_what_a_gpu_refuses() -> None:
    with pretended_gpu():
        there, here = torch.ones(3, device="cuda"), torch.ones(3)
        assert there.device == GPU
        assert there.is_cuda
        assert not here.is_cuda
        assert is_pretended(there * 2)
        assert is_pretended(here.to(there))
        assert is_pretended(torch.stack([there, there])[0])
        assert not is_pretended(there.cpu())
        assert float((there + 1).sum()) == 6
        with pytest.raises(RuntimeError, match="two devices"):
            there + here
        with pytest.raises(RuntimeError, match="two devices"):
            torch.cat([there, here])
        with pytest.raises(RuntimeError, match="two devices"):
            here[torch.arange(2, device="cuda")]
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="generator"):
            torch.randn(3, generator=torch.Generator(), device="cuda")
        there[0] = 5
        assert there.tolist() == [5, 1, 1]

"""Several processes that share the particles make the same passes as one process that has them all."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from _small_runs import small_context, small_set
from _states import Passes, check_close, check_same_pass

from nunatak.core.collective import ALONE
from nunatak.geometry.poses import Poses
from nunatak.reconstruct import consensus, orient
from nunatak.reconstruct.loop import run
from nunatak.reconstruct.recipes import ab_initio, fixed_poses
from nunatak.reconstruct.state import RunState
from nunatak.runs.checkpoint import load_checkpoint, save_checkpoint
from nunatak.search import cyclic_kernels

PATIENCE_S = 900.0
WORKER = Path(__file__).with_name("_one_of_several.py")
HETEROGENEOUS = {"latent_dim": 1, "grow_passes": 1, "joint_passes": 1, "seed": 1}
RUNS = {"ab-initio": False, "given": True}
"""Whether their poses are given."""
Pairs = list[tuple[RunState, RunState]]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def in_processes(size: int, folder: Path) -> None:
    """Run _one_of_several.py in so many processes; all must end well."""
    shared = {
        **os.environ,
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(size)},
        **{"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
    }
    started = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(folder)],
            env={**shared, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        ends = [(process.communicate(timeout=PATIENCE_S)[1], process.returncode) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert all(status == 0 for _, status in ends), "\n".join(said for said, _ in ends)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Pairs]]:
    """Runs in one process: a folder with the states before each pass, and the states before and after."""
    folder, found = tmp_path_factory.mktemp("processes"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cyclic_kernels, "significant_scores", lambda scores, top: None)
        for module in (consensus, orient):
            patch.setattr(module, "scoring_dtype", lambda device: torch.float32)
        for name, poses in RUNS.items():
            found[name] = run_alone(folder / name, poses)
    return folder, found


def run_alone(folder: Path, poses: bool) -> Pairs:
    """The states before and after each pass of a run; those before are written, with what made them."""
    count, box_px, snr = 202, 32, 2.0
    cache, truth = small_set(count, box_px, snr)
    context, kept = small_context(cache, **HETEROGENEOUS), Passes()
    if poses:
        context = replace(context, poses=Poses(truth.rotations, truth.shifts_A))
    run(fixed_poses(context.config) if poses else ab_initio(context.config), context, None, [kept])
    pairs = [*pairwise(kept.states)]
    for number, (before, _) in enumerate(pairs):
        save_checkpoint(folder / f"before-{number}", before, 0.0)
    asked = {"particles": count, "box_px": box_px, "snr": snr, "poses": poses, "changes": HETEROGENEOUS}
    (folder / "asked.json").write_text(json.dumps({**asked, "states": len(pairs)}))
    return pairs


@pytest.fixture(scope="module", params=[2, 4])
def size(request: pytest.FixtureRequest, begun: tuple[Path, dict[str, Pairs]]) -> int:
    """So many processes, started once, have done all that the tests below look at."""
    in_processes(request.param, begun[0])
    return request.param


def test_sums_rows_and_agreement(size: int, begun: tuple[Path, dict[str, Pairs]]) -> None:
    assert len(list(begun[0].glob(f"told-{size}-*"))) == size


@pytest.mark.parametrize("name", RUNS)
def test_every_pass_is_the_same_in_several_processes(
    name: str, size: int, begun: tuple[Path, dict[str, Pairs]]
) -> None:
    """One pass from each state of a run in one process, in two and in four."""
    for number, (_, after) in enumerate(begun[1][name]):
        found, _ = load_checkpoint(begun[0] / name / f"after-{size}-{number}")
        if after.model is None:
            check_close(found.starts, after.starts, 1e-4)
        else:
            check_same_pass(found, after)


def test_alone_everything_is_handed_back() -> None:
    share, rows = ALONE.share_of(10), torch.arange(3)
    for made in (share.total, share.joined, share.agreed, share.once, share.mine, share.local):
        assert made(rows) is rows
    assert share.holds(rows).all()
    assert [len(part) for part in share.tiles(rows, 2)] == [2, 1]
    assert share.tiles(rows[:0], 2) == ()

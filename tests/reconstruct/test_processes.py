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
from nunatak.runs.checkpoint import load_checkpoint, save_checkpoint
from nunatak.search import cyclic_kernels

PATIENCE_S = 900.0
WORKER = Path(__file__).with_name("_one_of_several.py")
HETEROGENEOUS = {"latent_dim": 1, "grow_passes": 1, "joint_passes": 1}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def in_processes(size: int, task: str, folder: Path) -> None:
    """Run a task of _one_of_several.py in so many processes; all must end well."""
    shared = {
        **os.environ,
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(size)},
        **{"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
    }
    started = [
        subprocess.Popen(
            [sys.executable, str(WORKER), task, str(folder)],
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


@pytest.mark.parametrize("size", [2, 4])
def test_sums_rows_and_agreement(size: int, tmp_path: Path) -> None:
    in_processes(size, "collectives", tmp_path)
    assert len(list(tmp_path.glob("told-*"))) == size


def test_alone_everything_is_handed_back() -> None:
    share, rows = ALONE.share_of(10), torch.arange(3)
    for made in (share.total, share.joined, share.agreed, share.once, share.mine, share.local):
        assert made(rows) is rows
    assert share.holds(rows).all()
    assert [len(part) for part in share.tiles(rows, 2)] == [2, 1]
    assert share.tiles(rows[:0], 2) == ()


@pytest.mark.parametrize(
    ("poses", "changes"),
    [(False, HETEROGENEOUS), (True, HETEROGENEOUS)],
    ids=["ab-initio", "given"],
)
def test_every_pass_is_the_same_in_several_processes(
    poses: bool, changes: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pass from each state of a run in one process, in two and in four."""
    monkeypatch.setattr(cyclic_kernels, "significant_scores", lambda scores, top: None)
    for module in (consensus, orient):
        monkeypatch.setattr(module, "scoring_dtype", lambda device: torch.float32)
    count, box_px, snr = 202, 32, 2.0
    cache, truth = small_set(count, box_px, snr)
    context, kept = small_context(cache, **changes), Passes()
    if poses:
        context = replace(context, poses=Poses(truth.rotations, truth.shifts_A))
    run(fixed_poses(context.config) if poses else ab_initio(context.config), context, None, [kept])
    pairs = [*pairwise(kept.states)]
    for number, (before, _) in enumerate(pairs):
        save_checkpoint(tmp_path / f"before-{number}", before, 0.0)
    asked = {"particles": count, "box_px": box_px, "snr": snr, "poses": poses, "changes": changes}
    (tmp_path / "asked.json").write_text(json.dumps({**asked, "states": len(pairs)}))
    for size in (2, 4):
        in_processes(size, "passes", tmp_path)
        for number, (_, after) in enumerate(pairs):
            found, _ = load_checkpoint(tmp_path / f"after-{size}-{number}")
            if after.model is None:
                check_close(found.starts, after.starts, 1e-4)
            else:
                check_same_pass(found, after)

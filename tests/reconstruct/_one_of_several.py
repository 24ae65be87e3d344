"""One of several processes that share a run: started by test_processes.py, which is one process itself."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from _small_runs import small_context

from nunatak.core.collective import Group, join_group
from nunatak.core.errors import RunError
from nunatak.geometry.poses import Poses
from nunatak.particles.cache import CachePlan, build_cache
from nunatak.reconstruct import consensus, orient
from nunatak.reconstruct.recipes import ab_initio, fixed_poses
from nunatak.reconstruct.state import Context
from nunatak.runs.checkpoint import load_checkpoint, save_checkpoint
from nunatak.search import cyclic_kernels
from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.dataset import simulate_particles
from nunatak.volumes.wiener import FourierSums


def exact_scores() -> None:
    """As the fixture of test_devices.py: in bfloat16, sums over other batches are other sums."""
    cyclic_kernels.significant_scores = lambda scores, top: None
    for module in (consensus, orient):
        module.scoring_dtype = lambda device: torch.float32


def shared_context(group: Group, asked: dict) -> Context:
    """This process' share of the small set that the test has in whole."""
    box_px = asked["box_px"]
    config = SimulationConfig(particles=asked["particles"], box_px=box_px, snr=asked["snr"], seed=0)
    particles, truth = simulate_particles(config)
    cache = build_cache(particles, sign=1, circle_px=0.42 * box_px, plan=CachePlan(group))
    poses = Poses(truth.rotations, truth.shifts_A) if asked["poses"] else None
    made = small_context(cache, **asked["changes"])
    return Context(made.cache, made.config, poses)


def passes(group: Group, folder: Path) -> None:
    """One pass from each of the states that were saved, saved by the first process."""
    asked = json.loads((folder / "asked.json").read_text())
    exact_scores()
    context = shared_context(group, asked)
    assert len(context.cache) == asked["particles"]
    assert len(context.cache.samples) < asked["particles"]
    recipe = fixed_poses(context.config) if asked["poses"] else ab_initio(context.config)
    for number in range(asked["states"]):
        before, _ = load_checkpoint(folder / f"before-{number}")
        after = context.cache.share.agreed(recipe.stages[before.stage].advance(before, context))
        if group.is_first:
            save_checkpoint(folder / f"after-{group.size}-{number}", after, 0.0)


def collectives(group: Group, folder: Path) -> None:
    """Sums, joined rows and agreement, against what they must be."""
    rank, size = group.rank, group.size
    share = group.share_of(10)
    held = share.mine(torch.arange(10))
    assert torch.equal(share.local(held), torch.arange(len(held)))
    assert torch.equal(share.joined(held), torch.arange(10))
    values = torch.complex(held.float(), -held.float())
    pair = share.joined((values, held[:, None] * torch.ones(1, 3)))
    assert torch.equal(pair[0].imag, -torch.arange(10.0))
    assert torch.equal(pair[1][:, 2], torch.arange(10.0))
    assert share.joined(held[:, None].float()[:, :0]).shape == (10, 0)
    # A process may hold none of some rows.
    assert len(share.joined(share.mine(torch.tensor([9])))) == 1
    assert share.tiles(torch.tensor([9]), 4) == () or rank == size - 1
    sums = FourierSums(torch.full((2, 2, 2, 1), 1j), torch.full((2, 2, 2, 1), float(rank)), 3)
    added, number = share.total((sums, 0.1))
    assert added.radius_px == 3
    assert torch.equal(added.numerator, torch.full((2, 2, 2, 1), size * 1j))
    assert torch.equal(added.denominator, torch.full((2, 2, 2, 1), size * (size - 1) / 2))
    assert abs(number - 0.1 * size) < 1e-12
    once = share.total(share.once((torch.ones(3), 2.5)))
    assert torch.equal(once[0], torch.ones(3))
    assert once[1] == 2.5
    mine, told, record = share.agreed(
        (torch.full((3,), float(rank)), rank, {"name": "a", "value": 0.1 * rank})
    )
    assert (mine.tolist(), told, record) == ([0.0] * 3, 0, {"name": "a", "value": 0.0})
    with pytest.raises(RunError, match="no longer hold the same state"):
        share.agreed(torch.ones(3 + rank % 2))
    (folder / f"told-{size}-{rank}").touch()


if __name__ == "__main__":
    torch.set_num_threads(1)
    np.seterr(all="raise", under="ignore")
    group = join_group("gloo")
    collectives(group, Path(sys.argv[1]))
    for asked in sorted(Path(sys.argv[1]).glob("*/asked.json")):
        passes(group, asked.parent)
    sys.stdout.flush()
    torch.distributed.destroy_process_group()
    os._exit(0)

"""A run that is stopped and goes on from its checkpoint ends with the same numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from _small_runs import small_context, small_set

from nunatak.reconstruct.loop import Progress, run
from nunatak.reconstruct.recipes import ab_initio
from nunatak.reconstruct.state import Context, RunState
from nunatak.runs.checkpoint import load_checkpoint, save_checkpoint


class StoppedError(Exception):
    """The power went off."""


class Keeper:
    """Saves after every pass, and stops the run after a number of them."""

    def __init__(self, folder: Path, stop_after: int) -> None:
        self.folder, self.left = folder, stop_after

    def on_progress(self, progress: Progress) -> None:
        """Not kept."""

    def on_pass(self, state: RunState, stage: str) -> None:
        save_checkpoint(self.folder, state, 0.0)
        self.left -= 1
        if not self.left:
            raise StoppedError


def context(latent_dim: int) -> Context:
    cache, _ = small_set(120, 16, 4.0)
    return small_context(cache, latent_dim=latent_dim, refine_passes=2, grow_passes=2, joint_passes=1)


@pytest.mark.parametrize("latent_dim", [0, 1])
def test_a_run_stopped_after_every_pass_ends_the_same(tmp_path: Path, latent_dim: int) -> None:
    straight = context(latent_dim)
    whole = run(ab_initio(straight.config), straight, RunState())
    stops = 0
    while True:
        saved = load_checkpoint(tmp_path)
        begun = context(latent_dim)
        try:
            state = run(
                ab_initio(begun.config), begun, saved[0] if saved else RunState(), [Keeper(tmp_path, 1)]
            )
        except StoppedError:
            stops += 1
            continue
        break
    assert stops == len(whole.history) + 1
    assert state.history == whole.history
    assert state.outcome is whole.outcome
    for name in ("maps", "confidence", "junk"):
        assert torch.equal(getattr(state, name), getattr(whole, name)), name
    assert torch.equal(state.model.candidates.rotations, whole.model.candidates.rotations)
    assert torch.equal(state.model.candidates.latents, whole.model.candidates.latents)

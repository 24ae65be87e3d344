"""Trained recipes find the built-in molecule from nothing, and say so where there is nothing.

400 images of 32 px at an SNR of 1, low radii and few passes: seconds. All begin with two random starts.
"""

from __future__ import annotations

import numpy as np
import pytest
from _small_runs import small_set

from nunatak.metrics.pose_error import align_frames
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.loop import run
from nunatak.reconstruct.recipes import find_recipe
from nunatak.reconstruct.stages import PoseSource
from nunatak.reconstruct.state import Context, Outcome, RunState

STARTS = {
    "restarts": 2,
    "start_updates": 15,
    "start_batch": 60,
    "radius_start_px": 6,
    "radius_end_px": 10,
    "shift_extent_px": 3.0,
}
SEARCH = {
    "l_start": 6,
    "l_end": 12,
    "t_extent": 2.0,
    "t_n_grid": 3,
    "n_iter": 2,
    "base_healpy": 1,
    "search_images": 2000,
    "epochs": 4,
}
ENCODER = {"l_start": 6, "l_end": 10, "encoder_levels": 0, "plane_copies": 8}
COUNT, BOX, SEED = 400, 32, 4


def finished(
    recipe: str, snr: float = 1.0, seed: int = SEED, count: int = COUNT, **changes: object
) -> RunState:
    cache, _ = small_set(count, BOX, snr, seed)
    config = EngineConfig(**({"recipe": recipe, "decoder": "grid", "seed": seed} | STARTS | changes))
    return run(find_recipe(recipe, PoseSource.FOUND).plan(config), Context(cache, config))


def median_error_deg(state: RunState, seed: int = SEED) -> float:
    _, truth = small_set(COUNT, BOX, 1.0, seed)
    rotations = state.model.candidates.rotations.double().numpy()
    return float(np.median(align_frames(rotations, truth.rotations.double().numpy()).error_deg))


def test_searched_poses_are_found() -> None:
    """Measured: 2.4 degrees."""
    state = finished("cryodrgn-ai", latent_dim=0, **SEARCH)
    assert state.outcome is not Outcome.NO_STRUCTURE
    assert median_error_deg(state) < 5

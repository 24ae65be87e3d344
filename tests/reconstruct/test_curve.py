"""Maps that follow a large motion, and latents from them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsRegressor
from torch import Tensor

from nunatak.metrics.fsc import area_under_fsc, fourier_shell_correlation
from nunatak.particles.cache import build_cache
from nunatak.particles.truth import Truth
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.curve import KEPT, pose_profiled
from nunatak.reconstruct.loop import run
from nunatak.reconstruct.recipes import fixed_poses
from nunatak.reconstruct.state import Context, RunState
from nunatak.search.candidates import NormalEquations
from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.dataset import simulate_particles
from nunatak.volumes.fsc import shell_correlation
from nunatak.volumes.maps import change_box


def neighbour_correlation(latents: Tensor, place: Tensor) -> float:
    """Correlation of a coordinate with what the 20 nearest neighbours' say it is."""
    said = cross_val_predict(KNeighborsRegressor(20), latents.numpy(), place.numpy(), cv=5)
    return float(np.corrcoef(said, place.numpy())[0, 1])


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
    kept = curved.kept[KEPT]
    values = kept["landscape"].functions(curved.oriented.candidates.latents[list(rows)])
    bent = kept["maps"][0] + torch.einsum("nk,kzyx->nzyx", values, kept["maps"][1:])
    mean = mean_fsc_area(flat.maps[:1].expand(len(rows), -1, -1, -1), truth, rows)
    areas = mean, mean_fsc_area(linear, truth, rows), mean_fsc_area(bent, truth, rows)
    # Measured 0.440, 0.459 and 0.464.
    assert areas[1] > areas[0] + 0.01
    assert areas[2] > areas[1] + 0.003


def test_latents_stay_in_their_gauge_and_follow_the_swing() -> None:
    _, truth, flat, curved = swinging()
    model = curved.oriented
    latents, place = model.candidates.latents, truth.particle_coordinates
    moment = latents.T @ latents / len(latents) + model.covariances.mean(0)
    assert float(latents.mean(0).abs().max()) < 1e-3
    assert float((moment - torch.eye(3)).abs().max()) < 1e-2
    before, after = (
        neighbour_correlation(state.oriented.candidates.latents, place) for state in (flat, curved)
    )
    # Measured 0.987 and 0.993.
    assert after > before + 0.002
    assert after > 0.95


def test_half_maps_along_the_landscape_are_of_the_half_sets() -> None:
    """They agree better with each other at low than at high frequency, and are not the same map."""
    _, _, _, curved = swinging()
    halves = curved.kept[KEPT]["halves"]
    assert halves.shape[0] == 2
    correlation = shell_correlation(halves[0], halves[1])
    assert float(correlation[0, 2:5].mean()) > 0.95
    assert float(correlation[0, -3:].mean()) < 0.9


def test_information_is_the_likelihood_with_the_pose_at_its_best() -> None:
    """Brute force: the quadratic picture of a misfit, minimised over pose and shift for every value."""
    generator = torch.Generator().manual_seed(2)
    count, functions, shift_sd_px = 4, 3, 1.5
    root = torch.randn(count, 6 + functions, 20, generator=generator)
    equations = NormalEquations(
        root @ root.mT, torch.randn(count, 6 + functions, generator=generator), torch.zeros(count, 3)
    )
    now = torch.randn(count, functions, generator=generator)
    found = pose_profiled(equations, now, shift_sd_px)
    tried = torch.randn(7, functions, generator=generator)
    prior = torch.diag(torch.tensor([0, 0, 0, 1, 1.0]) / shift_sd_px**2)
    expected = torch.zeros(count, 7)
    for image in range(count):
        hessian, gradient = equations.hessian[image], equations.gradient[image]
        for number, values in enumerate(tried):
            step = values - now[image]
            pull = gradient[:5] - hessian[:5, 6:] @ step
            pose = torch.linalg.solve(hessian[:5, :5] + prior, pull)
            full = torch.cat([pose, torch.zeros(1), step])
            misfit = 0.5 * full @ hessian @ full - gradient @ full + 0.5 * pose @ prior @ pose
            expected[image, number] = -misfit
    difference = found.log_likelihood(tried) - expected
    spread = float(expected.std())
    assert float((difference - difference[:, :1]).abs().max()) < 1e-3 * spread


def test_a_run_without_functions_keeps_no_landscape() -> None:
    _, _, flat, _ = swinging()
    assert KEPT not in flat.kept


def test_stages_for_no_latents_have_no_landscape() -> None:
    names = [stage.name for stage in fixed_poses(EngineConfig(latent_dim=0)).stages]
    assert "maps along the landscape" not in names

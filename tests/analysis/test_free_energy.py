"""Densities and free energies against a truth that is known."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_latents import Motion, Posteriors, posteriors

from nunatak.analysis.coordinates import Coordinates, principal_coordinates
from nunatak.analysis.deconvolution import Density, deconvolved_density, grid_axis
from nunatak.analysis.measurements import Measurements, without_prior
from nunatak.analysis.paths import farthest_ends, graph_path
from nunatak.analysis.reaction import Curve, curve_of, density_along_path, refined_curve

PARTICLES = 4000


def rmse_kT(profile: Density, axis: np.ndarray, truth: np.ndarray) -> float:
    """Root mean square error of the free energy where the true density exceeds 1 % of its maximum."""
    true_density = np.interp(profile.axes[0], axis, truth, left=0, right=0)
    kept = true_density > 0.01 * true_density.max()
    assert kept.sum() > 20
    difference = profile.free_energy_kT[kept] + np.log(true_density[kept])
    return float(difference.std())


def reaction_profile(found: Posteriors) -> tuple[Density, Curve, Coordinates]:
    """Free energy along the dominant path, as analysis of a run makes it."""
    frame = principal_coordinates(found.means, found.covariances.mean(0))
    d = frame.informed
    positions = frame.of(found.means)[:, :d]
    path = graph_path(positions, *farthest_ends(positions), 25)
    mean = np.repeat(found.covariances.mean(0)[None], len(path), 0)
    padded = np.concatenate([path, np.zeros((len(path), 4 - d))], 1)
    true_path = frame.of(without_prior(frame.latents(padded), mean).positions)[:, :d]
    whole = without_prior(found.means, found.covariances).seen_along(frame.centre, frame.transform)
    measured = Measurements(whole.positions[:, :d], whole.covariances[:, :d, :d])
    noise = float(np.sqrt(np.median(np.linalg.eigvalsh(measured.covariances)[:, 0])))
    curve = refined_curve(measured, curve_of(true_path, noise))
    profile = density_along_path(measured, curve, np.random.default_rng(0), bootstraps=8)
    return profile, curve, frame


@pytest.mark.parametrize(
    ("occupancy", "bend", "noise", "seed"),
    [
        ((1.0, 0.2, 1.0), 0.0, 0.25, 0),
        ((1.0, 0.2, 1.0), 0.5, 0.3, 1),
        ((0.1, 1.0, 0.15, 0.6, 0.1), 0.8, 0.2, 2),
    ],
    ids=["straight", "bent", "two uneven wells, bent"],
)
def test_free_energy_along_the_reaction_coordinate(
    occupancy: tuple[float, ...], bend: float, noise: float, seed: int
) -> None:
    motion = Motion(occupancy, bend)
    found = posteriors(motion, PARTICLES, noise, seed)
    profile, curve, frame = reaction_profile(found)
    t = np.linspace(-1, 1, 400)
    along = curve.positions(frame.of(found.embed(t))[:, : frame.informed])
    direction = 1 if along[-1] > along[0] else -1
    t, along = t[::direction], along[::direction]
    speed = np.gradient(along, np.arange(len(along)))
    truth = motion.density(t) / np.maximum(speed, 1e-9)
    assert (speed > 0).mean() > 0.95
    assert rmse_kT(profile, along, truth) < 0.5


def test_noise_is_taken_out() -> None:
    """The deconvolved density is much nearer to the truth than the histogram of the posterior means."""
    generator = np.random.default_rng(0)
    truth_sd, noise = 0.3, 0.5
    true = np.where(generator.random(6000) < 0.5, -1.0, 1.0) + truth_sd * generator.normal(size=6000)
    measured = Measurements(
        (true + noise * generator.normal(size=6000))[:, None], np.full((6000, 1, 1), noise**2)
    )
    axis = grid_axis(measured.positions[:, 0], noise, 80)
    found = deconvolved_density(measured, (axis,), generator, bootstraps=8)
    expected = sum(np.exp(-((axis - c) ** 2) / (2 * truth_sd**2)) for c in (-1, 1))
    expected /= expected.sum() * (axis[1] - axis[0])
    error, blurred = (np.abs(d - expected).sum() for d in (found.density, found.raw))
    assert error < 0.5 * blurred
    assert found.density.sum() * (axis[1] - axis[0]) == pytest.approx(1)


def test_error_bars_cover_the_truth() -> None:
    """Most of a smooth true free energy lies within two error bars."""
    generator = np.random.default_rng(1)
    measured = Measurements(
        generator.normal(size=(3000, 1)) + 0.3 * generator.normal(size=(3000, 1)), np.full((3000, 1, 1), 0.09)
    )
    axis = grid_axis(measured.positions[:, 0], 0.3, 60)
    found = deconvolved_density(measured, (axis,), generator, bootstraps=16)
    inner = np.abs(axis) < 2
    away = (found.free_energy_kT - axis**2 / 2)[inner]
    away -= away.mean()
    assert (np.abs(away) < 2 * found.error_kT[inner]).mean() > 0.7
    assert np.abs(away).max() < 0.5


def test_the_prior_is_taken_out() -> None:
    """Posterior means are shrunk; what the images say is not."""
    found = posteriors(Motion((1.0, 1.0), 0.0), 4000, 0.7, 3)
    alone = without_prior(found.means, found.covariances)
    true = found.embed(found.t)
    axis = np.linalg.eigh(found.covariances.mean(0))[1][:, 0]
    slope = np.polyfit(true @ axis, alone.positions @ axis, 1)[0]
    shrunk = np.polyfit(true @ axis, found.means @ axis, 1)[0]
    assert slope == pytest.approx(1, abs=0.05)
    assert shrunk < 0.85
    errors = (alone.positions - true) @ axis
    assert errors.var() == pytest.approx(float(np.mean(alone.covariances @ axis @ axis)), rel=0.1)

"""The dominant path: a curve along the order of the particles that many beginnings agree on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal, spearmanr
from synthetic_latents import Motion, Posteriors, posteriors
from test_free_energy import rmse_kT

from nunatak.analysis.coordinates import principal_coordinates
from nunatak.analysis.deconvolution import log_densities
from nunatak.analysis.dominant import agreed_order, dominant_curve
from nunatak.analysis.measurements import Measurements, without_prior
from nunatak.analysis.reaction import curve_of, density_along_path

PARTICLES = 4000


def measured_in_frame(found: Posteriors):
    """Measurements without the prior in the leading two coordinates, and those of the true curve."""
    frame = principal_coordinates(found.means, found.covariances.mean(0))
    whole = without_prior(found.means, found.covariances).seen_along(frame.centre, frame.transform)
    measured = Measurements(whole.positions[:, :2], whole.covariances[:, :2, :2])
    return measured, lambda t: frame.of(found.embed(t))[:, :2]


@pytest.mark.parametrize(("noise", "seed"), [(0.12, 0), (0.2, 1), (0.3, 1)])
def test_a_motion_that_turns_by_more_than_a_half_circle(noise: float, seed: int) -> None:
    """No component rises along it; the curve does, and the free energy along it is the simulated one."""
    motion = Motion((1.0, 0.2, 0.8), bend=2.4)
    found = posteriors(motion, PARTICLES, noise, seed)
    measured, places = measured_in_frame(found)
    curve = dominant_curve(measured, measured.positions, lambda points: points).curve
    follows = abs(float(spearmanr(curve.positions(measured.positions), found.t).statistic))
    along_component = abs(float(spearmanr(measured.positions[:, 0], found.t).statistic))
    assert follows > 0.97
    assert along_component < 0.9
    t = np.linspace(-1, 1, 400)
    along = curve.positions(places(t))
    t, along = (t, along) if along[-1] > along[0] else (t[::-1], along[::-1])
    speed = np.gradient(along, np.arange(len(along)))
    profile = density_along_path(measured, curve, np.random.default_rng(0), bootstraps=4)
    assert rmse_kT(profile, along, motion.density(t) / np.maximum(speed, 1e-9)) < 0.5


def test_one_wrong_order_of_many_does_not_decide() -> None:
    """One order has two parts exchanged, one is noise; turned round or not, the others' mean is taken."""
    generator = np.random.default_rng(0)
    true = np.sort(generator.random(500))
    agreeing = [sign * (true + 0.03 * generator.normal(size=500)) for sign in (1, -1, 1, -1)]
    exchanged = np.where(true < 0.5, true + 0.5, true - 0.5)
    order, agreement = agreed_order([*agreeing, exchanged, generator.random(500)])
    assert abs(spearmanr(order, true).statistic) > 0.998
    assert agreement == pytest.approx(0.72, abs=0.08)
    assert agreed_order([true])[1] == 1.0


def test_particles_in_one_place_have_no_order() -> None:
    order, agreement = agreed_order([np.zeros(50), np.ones(50)])
    assert np.ptp(order) == 0
    assert agreement == 0


def test_noise_has_no_order_that_is_agreed_on() -> None:
    generator = np.random.default_rng(0)
    measured = Measurements(generator.normal(size=(2000, 3)), np.broadcast_to(0.5 * np.eye(3), (2000, 3, 3)))
    assert dominant_curve(measured, measured.positions, lambda points: points).agreement < 0.6


def test_a_curve_is_turned_round() -> None:
    points = np.stack([np.linspace(0, 10, 30), np.zeros(30)], 1)
    curve = curve_of(points, 0.5)
    back = curve.turned_round()
    ends = np.array([[2.0, 0.0], [9.0, 0.0]])
    assert curve.positions(ends) == pytest.approx([2, 9])
    assert back.positions(ends) == pytest.approx([8, 1])
    assert back.length == curve.length


def test_log_densities_are_gaussian() -> None:
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(7, 3, 3))
    measured = Measurements(generator.normal(size=(7, 3)), mixing @ mixing.swapaxes(1, 2) + np.eye(3))
    points = generator.normal(size=(5, 3))
    expected = [
        [multivariate_normal(point, covariance).logpdf(position) for point in points]
        for position, covariance in zip(measured.positions, measured.covariances, strict=True)
    ]
    constant = 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(log_densities(measured, points) - constant, expected, atol=1e-9)

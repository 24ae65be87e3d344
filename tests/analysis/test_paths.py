"""Paths, and whether their support tells the truth about gaps."""

from __future__ import annotations

import numpy as np
import pytest

from nunatak.analysis.paths import (
    arc_lengths,
    component_path,
    energy_path,
    farthest_ends,
    graph_path,
    lifted,
    projected_on_path,
    resampled,
    straight_path,
)
from nunatak.analysis.support import WEAK, neighbour_covariances, point_support, support_warning
from nunatak.core.errors import InputError


def half_ring(count: int = 1500, width: float = 0.05, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    angle = generator.uniform(0, np.pi, count)
    return np.stack([-np.cos(angle), np.sin(angle)], 1) + width * generator.normal(size=(count, 2))


def test_the_graph_goes_round_a_ring_and_the_straight_line_across() -> None:
    points = half_ring()
    start, end = farthest_ends(points)
    assert points[start, 0] < -0.9
    assert points[end, 0] > 0.9
    around = graph_path(points, start, end, 21)
    across = straight_path(points[start], points[end], 21)
    assert np.abs(np.linalg.norm(around, axis=1) - 1).max() < 0.12
    assert arc_lengths(around)[-1] == pytest.approx(np.pi, rel=0.1)
    covariances = np.broadcast_to(np.eye(2) * 0.06**2, (len(points), 2, 2))
    assert point_support(around, points, covariances).min() > 2 * WEAK
    assert point_support(across, points, covariances)[8:13].max() == 0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ends_are_those_of_the_motion_among_noise_in_many_dimensions(seed: int) -> None:
    """A bent way through six dimensions, noise a fifth of its width in each, and some strays."""
    generator = np.random.default_rng(seed)
    t = generator.uniform(-1, 1, 4000)
    way = np.stack([np.sin(2 * t), np.cos(2 * t), 0.3 * np.sin(5 * t), 0 * t, 0 * t, 0 * t], 1)
    points = way + 0.2 * generator.normal(size=way.shape)
    points[:20] = 4 * generator.normal(size=(20, 6))
    ends = t[list(farthest_ends(points))]
    assert min(ends) < -0.75
    assert max(ends) > 0.75


@pytest.mark.parametrize("noise", [0.05, 0.15])
def test_support_falls_where_a_gap_was_simulated(noise: float) -> None:
    generator = np.random.default_rng(0)
    t = generator.uniform(-1, 1, 6000)
    t = t[np.abs(t) > 0.4]
    measured = np.stack([t, 0 * t], 1) + noise * generator.normal(size=(len(t), 2))
    covariances = np.broadcast_to(np.eye(2) * noise**2, (len(t), 2, 2))
    path = straight_path(np.array([-0.9, 0]), np.array([0.9, 0]), 37)
    support = point_support(path, measured, covariances)
    inside, outside = np.abs(path[:, 0]) < 0.1, (np.abs(path[:, 0]) > 0.55) & (np.abs(path[:, 0]) < 0.8)
    assert support[inside].max() < 0.1
    assert support[outside].min() > 0.7
    warning = support_warning("straight", support)
    assert warning is not None
    assert "no particle shows" in warning
    assert support_warning("straight", support[outside]) is None


def test_a_gap_narrower_than_the_noise_cannot_be_seen() -> None:
    generator = np.random.default_rng(0)
    t = generator.uniform(-1, 1, 6000)
    t = t[np.abs(t) > 0.05]
    measured = (t + 0.3 * generator.normal(size=len(t)))[:, None]
    covariances = np.full((len(t), 1, 1), 0.09)
    assert point_support(np.array([[0.0]]), measured, covariances)[0] > 0.7


def test_the_graph_bridges_parts_that_hang_apart() -> None:
    generator = np.random.default_rng(0)
    points = np.concatenate([generator.normal(size=(300, 2)) * 0.1 + [x, 0] for x in (-2, 0, 2)])
    way = graph_path(points, 0, 899, 15)
    assert way[0] == pytest.approx(points[0])
    assert way[-1] == pytest.approx(points[899])
    with pytest.raises(InputError, match="two different ends"):
        graph_path(points, 5, 5, 10)


def test_the_way_of_lowest_free_energy_follows_the_valley() -> None:
    axis = np.linspace(-1.5, 1.5, 61)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    valley = np.exp(-((np.hypot(x, y) - 1) ** 2) / (2 * 0.1**2))
    density = np.where(y > -0.2, valley, 0)
    way = energy_path((axis, axis), density, np.array([-1.0, 0.0]), np.array([1.0, 0.0]), 25)
    assert np.abs(np.hypot(*way[2:-2].T) - 1).max() < 0.15
    assert way[12, 1] > 0.8


def test_a_path_in_the_plane_is_lifted_to_where_particles_are() -> None:
    generator = np.random.default_rng(0)
    plane = generator.uniform(-1, 1, (4000, 2))
    whole = np.concatenate([plane, (plane[:, :1] ** 2)], 1)
    way = lifted(straight_path(np.array([-0.8, 0]), np.array([0.8, 0]), 15), whole, 0.1)
    assert np.abs(way[:, 2] - way[:, 0] ** 2).max() < 0.1


def test_components_and_projections() -> None:
    generator = np.random.default_rng(0)
    points = generator.normal(size=(1000, 3)) * [3, 1, 1]
    way = component_path(points, 0, 11)
    assert np.ptp(way[:, 1:], axis=0).max() == 0
    assert way[[0, -1], 0] == pytest.approx(np.quantile(points[:, 0], [0.05, 0.95]))
    along, away = projected_on_path(
        np.array([[0.0, 1.0], [2.0, -3.0], [9.0, 0.0]]), np.array([[0.0, 0], [4, 0]])
    )
    assert along.tolist() == [0, 2, 4]
    assert away.tolist() == [1, 3, 5]
    assert np.diff(arc_lengths(resampled(half_ring(5), 30))).std() < 0.05


def test_covariances_from_neighbours_are_round_and_about_the_spacing() -> None:
    points = np.random.default_rng(0).uniform(0, 1, (2000, 2))
    width = np.sqrt(neighbour_covariances(points)[0, 0, 0])
    assert width == pytest.approx(np.sqrt(20 / (np.pi * 2000)), rel=0.25)

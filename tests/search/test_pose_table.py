"""Poses refined by gradients: they go to the truth for a voxel map and for a network, and rows are lazy."""

from __future__ import annotations

import math

import pytest
import torch
from _views import disturbed, make_views, molecule_maps

from nunatak.geometry.rotations import geodesic_deg
from nunatak.search.lazy_adam import no_moments, visit
from nunatak.search.pose_table import move_poses, pose_leaves, pose_table
from nunatak.volumes.coordinate_field import CoordinateField
from nunatak.volumes.field_config import CoordinateConfig, FieldShape, GridConfig
from nunatak.volumes.grid_field import GridField

BOX, RADIUS = 24, 9


def voxel_field() -> GridField:
    """The molecule of the views as a map without latents."""
    config = GridConfig(mask_radius_fraction=0.5)
    amplitude = torch.full((RADIUS + 1,), math.sqrt(BOX))
    field = GridField(FieldShape(BOX, RADIUS, 0), config, amplitude, torch.Generator().manual_seed(0))
    with torch.no_grad():
        field.voxels.copy_(molecule_maps(BOX))
    return field


def network_field() -> CoordinateField:
    """A network as the truth: its images are simulated from itself."""
    config = CoordinateConfig(features_per_axis=8, width=24, layers=1, feature_sd=1.5)
    generator = torch.Generator().manual_seed(5)
    return CoordinateField(FieldShape(BOX, RADIUS, 0), config, torch.ones(RADIUS + 1), generator)


@pytest.mark.parametrize("make", [voxel_field, network_field], ids=["voxels", "network"])
def test_gradients_find_the_true_poses(make) -> None:
    """From 6 degrees and 1 pixel away, without noise."""
    field, views = make(), make_views(count=24, box=BOX, radius=RADIUS)
    plane, truth, none = views.images.plane, views.truth, torch.zeros(24, 0)
    frequencies = plane.frequencies.float()
    with torch.no_grad():
        clean = field.slices(truth.rotations, frequencies, none)
    angle = 2 * math.pi / BOX * (truth.shifts_px @ frequencies.T)
    samples = clean * torch.polar(torch.ones_like(angle), angle)
    start = disturbed(truth, 6.0, 1.0)
    table, rows = pose_table(start.rotations, start.shifts_px).unshared(), torch.arange(24)
    steps = 60
    for step in range(steps):
        leaves = pose_leaves(table, rows)
        centred = samples * torch.polar(
            torch.ones(24, len(plane)), -2 * math.pi / BOX * (leaves.shifts_px @ frequencies.T)
        )
        off = (centred - field.slices(leaves.rotations, frequencies, none)).abs().square().sum()
        off.backward()
        fall = 0.5 * (1 + math.cos(math.pi * step / steps))
        move_poses(table, rows, leaves, (0.03 * fall, 0.2 * fall))
    assert float(geodesic_deg(start.rotations, truth.rotations).median()) > 5.9
    assert float(geodesic_deg(table.rotations, truth.rotations).median()) < 0.3
    assert float((table.shifts_px - truth.shifts_px).norm(dim=1).median()) < 0.05


def test_leaves_have_the_derivative_of_a_turn() -> None:
    """To first order exp(w) R, as rotation_from_vector has it."""
    from nunatak.geometry.rotations import random_rotations, rotation_from_vector

    generator = torch.Generator().manual_seed(0)
    table = pose_table(random_rotations(4, generator), torch.zeros(4, 2))
    direction, weight = torch.randn(4, 3, generator=generator), torch.randn(4, 3, 3, generator=generator)
    leaves = pose_leaves(table, torch.arange(4))
    (leaves.rotations * weight).sum().backward()
    small = 1e-4
    moved = [rotation_from_vector(s * small * direction.double()) @ table.rotations.double() for s in (1, -1)]
    expected = ((moved[0] - moved[1]) / (2 * small) * weight).sum()
    assert float((leaves.turns.grad * direction).sum()) == pytest.approx(float(expected), rel=1e-3)


def test_rows_that_are_not_visited_do_not_move() -> None:
    views = make_views(count=6)
    table = pose_table(views.truth.rotations, views.truth.shifts_px).unshared()
    rows = torch.tensor([1, 4])
    leaves = pose_leaves(table, rows)
    (leaves.rotations.sum() + leaves.shifts_px.sum()).backward()
    move_poses(table, rows, leaves, (0.01, 0.1))
    changed = (table.rotations != views.truth.rotations).flatten(1).any(1)
    assert changed.tolist() == [False, True, False, False, True, False]
    assert table.turning.visits.tolist() == table.shifting.visits.tolist() == [0, 1, 0, 0, 1, 0]


def test_steps_follow_the_gradient_and_not_the_axes() -> None:
    """The first step has the gradient's direction whatever its length; a steady one goes on at the rate."""
    moments, gradient = no_moments(2, 3, torch.device("cpu")), torch.tensor([[3.0, 0, 4], [3e-3, 0, 4e-3]])
    for _ in range(5):
        step = visit(moments, torch.arange(2), gradient, 0.1)
        torch.testing.assert_close(step[0], step[1])
        torch.testing.assert_close(step[0], -0.1 * math.sqrt(3) * torch.tensor([0.6, 0, 0.8]))
    # A gradient that turns round every time goes nowhere.
    moments, total = no_moments(1, 1, torch.device("cpu")), torch.zeros(1, 1)
    for sign in (1.0, -1.0) * 10:
        total += visit(moments, torch.zeros(1, dtype=torch.long), torch.full((1, 1), sign), 0.1)
    assert float(total.abs()) < 0.3

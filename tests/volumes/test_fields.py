"""Trainable volumes: slices of what they rasterise, transforms of real maps, gradients of everything."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nunatak.core.fourier import fourier_map, half_plane
from nunatak.geometry.rotations import random_rotations
from nunatak.projection.operator import Projector
from nunatak.projection.slices import plane_points
from nunatak.volumes.coordinate_field import CoordinateField
from nunatak.volumes.field import VolumeField, half_ball, maps_from_half_ball, radial
from nunatak.volumes.field_config import CoordinateConfig, FieldShape, GridConfig
from nunatak.volumes.grid_field import GridField
from nunatak.volumes.making import FieldPlan, field_with, new_field, plan_from_text

SHAPE = FieldShape(box_px=20, radius_px=7, latent_dim=3)
AMPLITUDE = torch.linspace(2.0, 0.5, 8)


def coordinate_field() -> CoordinateField:
    config = CoordinateConfig(features_per_axis=8, width=24, layers=2)
    return CoordinateField(SHAPE, config, AMPLITUDE, torch.Generator().manual_seed(0))


def grid_field() -> GridField:
    generator = torch.Generator().manual_seed(0)
    field = GridField(SHAPE, GridConfig(rank=5, width=8), AMPLITUDE, generator)
    with torch.no_grad():
        field.voxels.copy_(torch.randn(field.voxels.shape, generator=generator))
    return field


def field_on_a_mean() -> CoordinateField:
    """A network that has learnt something, added to a map."""
    network = CoordinateConfig(features_per_axis=8, width=24, layers=2, on_mean=True)
    generator = torch.Generator().manual_seed(0)
    field = new_field(FieldPlan("network", SHAPE, network), AMPLITUDE, generator)
    assert isinstance(field, CoordinateField)
    field.begin_with(hill()[None])
    with torch.no_grad():
        field.network.last.weight.copy_(0.2 * torch.randn(1, 24, generator=generator))
    return field


def hill() -> Tensor:
    axis = torch.arange(20) - 10
    squared = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None] ** 2
    return torch.exp(-squared / 12)


FIELDS = pytest.mark.parametrize(
    "make",
    [coordinate_field, grid_field, field_on_a_mean],
    ids=["coordinates", "grid", "coordinates-on-mean"],
)


def views(count: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    rotations, latents = random_rotations(count, generator), torch.randn(count, 3, generator=generator)
    return rotations, half_plane(SHAPE.box_px, SHAPE.radius_px).frequencies, latents


@FIELDS
def test_slices_are_the_field_on_planes(make) -> None:
    field, (rotations, frequencies, latents) = make(), views()
    fast = field.slices(rotations, frequencies, latents)
    slow = field.at(plane_points(rotations, frequencies), latents)
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-4 * float(slow.detach().abs().max()))


@FIELDS
def test_maps_are_what_is_sliced(make) -> None:
    """The rasterised map projects to the field's slices, up to what interpolation costs."""
    field, (rotations, frequencies, latents) = make(), views()
    maps = field.maps(latents)
    assert maps.shape == (4, 20, 20, 20)
    projector = Projector(frequencies, SHAPE.radius_px, SHAPE.box_px)
    for i in range(4):
        sliced = field.slices(rotations[i : i + 1], frequencies, latents[i : i + 1])[0].detach()
        projected = projector.forward(maps[i : i + 1], rotations[i : i + 1])[0, :, 0]
        inside = frequencies.float().norm(dim=1) < SHAPE.radius_px - 1
        assert float((sliced - projected)[inside].norm() / sliced[inside].norm()) < 0.06


@FIELDS
def test_values_at_whole_frequencies_are_the_maps(make) -> None:
    field, (_, _, latents) = make(), views()
    frequencies = half_ball(5, torch.device("cpu"))
    x, y, z = (frequencies + 10).T
    expected = fourier_map(field.maps(latents))[:, z, y, x]
    torch.testing.assert_close(field.transform(frequencies, latents).detach(), expected, rtol=1e-3, atol=1e-4)


@FIELDS
def test_the_transform_is_that_of_a_real_map(make) -> None:
    field, (rotations, frequencies, latents) = make(), views()
    points = plane_points(rotations, frequencies)
    torch.testing.assert_close(
        field.at(-points, latents), field.at(points, latents).conj(), rtol=1e-4, atol=1e-4
    )
    at_origin = field.at(torch.zeros(4, 1, 3), latents)
    assert float(at_origin.imag.detach().abs().max()) < 1e-6


@FIELDS
def test_gradients_reach_every_parameter_the_latents_and_the_rotations(make) -> None:
    """Directional derivatives against differences."""
    field, (rotations, frequencies, latents) = make(), views()
    generator = torch.Generator().manual_seed(2)
    wanted = torch.randn(4, len(frequencies), dtype=torch.complex64, generator=generator)

    def loss(rotations: Tensor, latents: Tensor) -> Tensor:
        return (field.slices(rotations, frequencies, latents) * wanted.conj()).real.sum()

    inputs = [rotations.clone().requires_grad_(), latents.clone().requires_grad_()]
    loss(*inputs).backward()
    assert all(float(p.grad.abs().max()) > 0 for p in field.parameters() if p.requires_grad)
    for i, part in enumerate(inputs):
        # Half a thousandth: the interpolation of the grid has kinks where a sample enters another voxel.
        direction = 5e-4 * torch.randn(part.shape, generator=generator)
        if i == 0:
            direction[:, 2] = 0  # the viewing direction does not enter a slice
        ends = []
        for sign in (1, -1):
            moved = [x.detach() + sign * direction if x is part else x.detach() for x in inputs]
            ends.append(float(loss(*moved).detach()))
        expected = float((part.grad * direction).sum()) * 2
        assert ends[0] - ends[1] == pytest.approx(expected, rel=0.05, abs=2e-3 * abs(ends[0]))


def test_a_coordinate_field_starts_as_published() -> None:
    """298,241 trainable weights at 8 latents, features that reach a 25th of the box (cryoDRGN-AI 4.3)."""
    shape = FieldShape(64, 31, 8)
    field = CoordinateField(shape, CoordinateConfig(), torch.ones(32), torch.Generator().manual_seed(0))
    assert sum(p.numel() for p in field.parameters()) == 298_241
    assert float(field.features.std()) * 64 / (2 * torch.pi) == pytest.approx(64 / 25, rel=0.05)


def test_the_same_generator_gives_the_same_field() -> None:
    first, second = coordinate_field().state_dict(), coordinate_field().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert float(torch.rand(1, generator=torch.Generator().manual_seed(0))) != 0


def test_a_grid_begins_with_a_map() -> None:
    field, mean = grid_field(), hill()
    field.begin_with(mean[None])
    with torch.no_grad():
        field.voxels[1:] = 0
    assert float((field.maps(torch.zeros(1, 3))[0] - mean).norm() / mean.norm()) < 0.02


def test_a_network_on_a_mean_begins_as_that_map_and_does_not_train_it() -> None:
    network = CoordinateConfig(features_per_axis=8, width=24, layers=2, on_mean=True)
    field = new_field(FieldPlan("network", SHAPE, network), AMPLITUDE, torch.Generator().manual_seed(0))
    field.begin_with(hill()[None])
    found = field.maps(torch.randn(2, 3, generator=torch.Generator().manual_seed(1)))
    assert float((found - hill()).norm() / hill().norm()) < 0.03
    assert {name for name, p in field.named_parameters() if not p.requires_grad} == {"mean.voxels"}
    again = field_with(plan_from_text(FieldPlan("network", SHAPE, network).text()), field.state_dict())
    torch.testing.assert_close(again.maps(torch.zeros(1, 3)), found[:1])


def test_layers_in_bfloat16_err_little_and_only_while_gradients_are_wanted() -> None:
    """Measured: 0.3 % of the values, 1.3 % of the latents' gradient; noise is far more than either."""
    made = []
    for bfloat16 in (False, True):
        config = CoordinateConfig(features_per_axis=8, width=24, layers=2, bfloat16=bfloat16)
        field = CoordinateField(SHAPE, config, AMPLITUDE, torch.Generator().manual_seed(0))
        rotations, frequencies, latents = views()
        latents.requires_grad_()
        values = field.slices(rotations, frequencies, latents)
        values.abs().square().sum().backward()
        with torch.no_grad():
            made.append((values.detach(), latents.grad, field.slices(rotations, frequencies, latents)))
    for exact, coarse in zip(made[0][:2], made[1][:2], strict=True):
        assert 1e-5 < float((coarse - exact).norm() / exact.norm()) < 0.02
    assert torch.equal(made[0][2], made[1][2])


def test_a_grid_without_latents_is_one_map() -> None:
    field: VolumeField = GridField(
        FieldShape(20, 7, 0), GridConfig(), AMPLITUDE, torch.Generator().manual_seed(0)
    )
    assert field.maps(torch.zeros(2, 0)).shape == (2, 20, 20, 20)
    assert [tuple(p.shape) for p in field.parameters()] == [(1, 20, 20, 20)]


@pytest.mark.parametrize("box", [12, 13])
def test_half_a_ball_of_samples_makes_the_map(box: int) -> None:
    generator = torch.Generator().manual_seed(0)
    frequencies = half_ball(5, torch.device("cpu"))
    transform = fourier_map(torch.randn(2, box, box, box, generator=generator))
    x, y, z = (frequencies + box // 2).T
    made = fourier_map(maps_from_half_ball(transform[:, z, y, x], frequencies, box))
    axis = torch.arange(box) - box // 2
    inside = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None] ** 2 <= 25
    torch.testing.assert_close(made[:, inside], transform[:, inside], rtol=1e-4, atol=1e-4)
    assert float(made[:, ~inside].abs().max()) < 1e-5


def test_amplitudes_are_interpolated_between_shells() -> None:
    points = torch.tensor([[0.0, 0, 0], [0, 1.5, 0], [0, 0, -2], [9, 0, 0]])
    torch.testing.assert_close(radial(torch.tensor([4.0, 2, 1]), points), torch.tensor([4.0, 1.5, 1, 1]))


def test_points_are_taken_in_parts_to_the_same_values_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    rotations, frequencies, latents = views(5)
    found = []
    for most in (1 << 20, 2 * len(frequencies)):  # all five images at once; two, two and one
        monkeypatch.setattr("nunatak.volumes.coordinate_field._POINTS_AT_ONCE", most)
        field, own = coordinate_field(), latents.clone().requires_grad_()
        slices = field.slices(rotations, frequencies, own)
        slices.abs().square().sum().backward()
        found.append((slices.detach(), own.grad, field.network.first.weight.grad))
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5 * float(whole.abs().max()))

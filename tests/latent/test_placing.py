"""Back projections for the encoder: noise has unit variance, and density appears where it is."""

from __future__ import annotations

import torch

from nunatak.core.fourier import half_plane
from nunatak.geometry.rotations import random_rotations
from nunatak.latent.placing import back_projected, coarse_points, placed_features, placing
from nunatak.projection.gridding import block_from_maps
from nunatak.projection.operator import slice_block
from nunatak.volumes.maps import radius_grid

BOX, RADIUS, COUNT = 32, 14, 400


def blob_at(point: tuple[float, float, float]) -> torch.Tensor:
    axis = torch.arange(BOX) - BOX // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    away = (x - point[0]) ** 2 + (y - point[1]) ** 2 + (z - point[2]) ** 2
    return torch.exp(-away / 6)


def test_what_is_not_in_the_mean_appears_in_its_place() -> None:
    """Averaged over views, back projections of residuals peak at the blob that the mean map lacks."""
    generator = torch.Generator().manual_seed(0)
    mean, extra = blob_at((0, 0, 0)), (6.0, -4.0, 2.0)
    plane, rotations = half_plane(BOX, RADIUS), random_rotations(COUNT, generator)
    block = block_from_maps((mean + 0.5 * blob_at(extra))[None], RADIUS)
    transfer = 1 + torch.rand(COUNT, len(plane), generator=generator)
    samples = transfer * slice_block(block, rotations, plane.frequencies)[..., 0]
    where = placing(mean, RADIUS, 0.42)
    features = placed_features(where, samples, transfer, rotations)
    assert features.shape == (COUNT, where.features)
    found = where.points[features[:, :-3].mean(0).argmax()] * (BOX / where.small.box_px)
    assert float((found - torch.tensor(extra)).norm()) < 2.0
    torch.testing.assert_close(features[:, -3:], rotations[:, 2])


def test_noise_has_unit_variance() -> None:
    generator = torch.Generator().manual_seed(1)
    plane, rotations = half_plane(BOX, RADIUS), random_rotations(COUNT, generator)
    where = placing(torch.zeros(BOX, BOX, BOX), RADIUS, 0.42)
    transfer = torch.rand(COUNT, 1, generator=generator).expand(COUNT, len(plane)) + 0.5
    noise = torch.randn(COUNT, len(plane), dtype=torch.complex64, generator=generator)
    features = placed_features(where, noise, transfer, rotations)[:, :-3]
    # Linear interpolation between pixels averages: on pixels the variance is 1.
    on_pixels = back_projected(
        torch.randn(COUNT, 9, 9, generator=generator),
        torch.tensor([[0.0, 0, 0]]),
        torch.eye(3).expand(COUNT, 3, 3),
    )
    assert 0.85 < float(on_pixels.var()) < 1.15
    assert 0.4 < float(features.var()) < 1.05


def test_images_are_read_where_points_are_seen() -> None:
    """Convention 2: a point v is seen at (R v)_xy from the pixel s // 2."""
    generator = torch.Generator().manual_seed(2)
    rotations = random_rotations(5, generator)
    points = coarse_points(20, 8, 0.42, torch.device("cpu"))
    assert float(points.norm(dim=1).max()) <= 8.4
    assert float(radius_grid(20).max()) > 8.4
    ramp = (torch.arange(20.0) - 10)[None, None, :].expand(5, 20, 20)
    expected = torch.einsum("bj,vj->bv", rotations[:, 0], points)
    torch.testing.assert_close(back_projected(ramp, points, rotations), expected, atol=1e-4, rtol=1e-4)
    expected = torch.einsum("bj,vj->bv", rotations[:, 1], points)
    torch.testing.assert_close(
        back_projected(ramp.transpose(1, 2).contiguous(), points, rotations), expected, atol=1e-4, rtol=1e-4
    )

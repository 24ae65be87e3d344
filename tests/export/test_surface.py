import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from nunatak.export.surface import (
    FRONT,
    SIDE,
    TOP,
    prepare_surface,
    remove_dust,
    render_surface,
    surface_frame,
    surface_level,
)
from nunatak.export.views import principal_view, render_map, render_states, trimmed

LINE = np.arange(32) - 16
RADIUS = np.sqrt(LINE[:, None, None] ** 2 + LINE[None, :, None] ** 2 + LINE**2)


def _ball(radius=8.0):
    return np.clip(radius + 1 - RADIUS, 0, 2).astype(np.float32)


def _rendered(volume, view=FRONT, size=64):
    return render_surface(prepare_surface(volume, 1.0, surface_frame([volume], 1.0)), view, size)


def test_a_ball_covers_its_disc():
    frame = surface_frame([_ball()], 1.0)
    covered = (_rendered(_ball())[..., 3] > 127).mean()
    expected = np.pi / 4 * (8 / (frame.radius_px + 1.5)) ** 2
    assert covered == pytest.approx(expected, rel=0.03)


def test_light_comes_from_the_upper_left():
    picture = _rendered(_ball()).astype(float)
    brightness = np.where(picture[..., 3] > 127, picture[..., :3].mean(-1), np.nan)
    assert np.nanmean(brightness[:32, :32]) > np.nanmean(brightness[32:, 32:]) + 20


@pytest.mark.parametrize(("view", "axis", "turns"), [(FRONT, 0, 0), (FRONT, 1, 3), (SIDE, 2, 2), (TOP, 2, 1)])
def test_each_axis_points_where_the_view_says(view, axis, turns):
    """x to the right and y up in front, z to the left from the side and down from above."""
    volume = _ball(4.0)
    centre = [16, 16, 16]
    centre[2 - axis] = 27
    volume[tuple(slice(c - 1, c + 2) for c in centre)] = 2
    mask = np.rot90(_rendered(volume, view)[..., 3] > 127, turns)
    # Turned so that the small dot lies right and the ball left, both at the picture's margins.
    assert 10 < mask[:, 42:].sum() < 0.4 * mask[:, :22].sum()


def test_views_are_rotations():
    for view in (FRONT, SIDE, TOP):
        np.testing.assert_allclose(view @ view.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(view) == pytest.approx(1.0)


def test_skipping_empty_space_misses_nothing():
    """The picture equals one marched from the front of the bounding sphere."""
    volume = gaussian_filter(np.random.default_rng(0).normal(size=(32, 32, 32)), 2) * (RADIUS < 12)
    level = float(np.quantile(volume, 0.97))
    surface = prepare_surface(volume, level, surface_frame([volume], level))
    picture = render_surface(surface, TOP, 48)
    axes = torch.from_numpy(TOP.astype(np.float32))
    line = (torch.arange(96) + 0.5) / 96 * 2 - 1
    depth = torch.linspace(1, -1, 400)
    up, right, towards = torch.meshgrid(-line, line, depth, indexing="ij")
    points = torch.stack([right, up, towards], -1) * surface.radius @ axes
    density = surface.density[None, None]
    values = torch.nn.functional.grid_sample(density, points[None], align_corners=True)[0, 0]
    hit = (values > 1).any(-1).float().reshape(48, 2, 48, 2).mean((1, 3)).numpy()
    assert np.abs(picture[..., 3] / 255 - hit).mean() < 0.01


def test_level_lies_between_background_and_particle_in_noise():
    volume = _ball() + 0.1 * np.random.default_rng(0).normal(size=(32, 32, 32)).astype(np.float32)
    assert 0.3 < surface_level(volume) < 1.8


def test_dust_goes_and_the_particle_stays():
    volume = _ball()
    volume[2, 2, 2] = 2
    clean = remove_dust(volume, 1.0)
    assert clean[2, 2, 2] < 1
    assert (clean > 1).sum() == (_ball() > 1).sum()


def test_a_rod_is_shown_upright_from_its_flat_side():
    rod = np.zeros((24, 24, 24))
    rod[10:14, 11:13, 3:21] = 1
    right, up, towards = principal_view(rod)
    assert abs(up[0]) > 0.99
    assert abs(right[2]) > 0.99
    assert np.linalg.det([right, up, towards]) == pytest.approx(1.0)


def test_an_empty_map_gives_no_pictures():
    assert render_map(np.zeros((16, 16, 16), np.float32)) == []
    assert render_states([np.zeros((16, 16, 16), np.float32)] * 2) == []


def test_states_share_one_size_and_colour_what_moves():
    still, moved = _ball(6.0), _ball(6.0)
    still[14:18, 14:18, 26:30] = 2
    moved[14:18, 26:30, 14:18] = 2
    pictures = render_states([still, moved], level=1.0, size_px=64)
    assert pictures[0].shape == pictures[1].shape
    shown = [p[p[..., 3] > 200].astype(int) for p in pictures]
    assert all((p[:, 0] - p[:, 2]).max() > 25 and (p[:, 2] - p[:, 0]).max() > 25 for p in shown)


def test_trimming_cuts_all_pictures_alike():
    pictures = [np.zeros((40, 40, 4), np.uint8) for _ in range(2)]
    pictures[0][10, 12, 3] = pictures[1][20, 30, 3] = 255
    assert [p.shape for p in trimmed(pictures, 2)] == [(15, 23, 4)] * 2

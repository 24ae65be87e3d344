import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch

from nunatak.core.errors import InputError
from nunatak.export.curves import Trace, fsc_figure, label_rows, trace_figure
from nunatak.export.distributions import (
    histogram_figure,
    latent_figure,
    mollweide,
    principal_components,
    view_figure,
)
from nunatak.export.landscapes import shown_window
from nunatak.export.pictures import central_part, grey_picture, low_passed, map_pictures, particle_pictures
from nunatak.export.style import figure_svg
from nunatak.geometry.rotations import random_rotations

GENERATOR = np.random.default_rng(0)
ROTATIONS = random_rotations(3000, torch.Generator().manual_seed(0)).numpy()


def _valid(figure):
    svg = figure_svg(figure, 'a "label" <&>', "x")
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == 'a "label" <&>'
    assert "var(--" in svg
    return svg


@pytest.mark.parametrize("resolution", [9.0, None])
def test_fsc_figure_marks_the_resolution_only_where_there_is_one(resolution):
    frequencies = np.linspace(0.01, 0.2, 20)
    svg = _valid(fsc_figure(frequencies, np.linspace(1, -0.1, 20), resolution))
    assert ("9.0 Å" in svg) == (resolution is not None)


def test_fsc_figure_draws_the_curve_in_the_molecule_where_there_is_one():
    frequencies, curve = np.linspace(0.01, 0.2, 20), np.linspace(1, -0.1, 20)
    without, beside = (
        fsc_figure(frequencies, curve, None, inside).axes[0] for inside in (None, (frequencies, curve**2))
    )
    assert len(beside.lines) == len(without.lines) + 1


def test_trace_figure_numbers_stages_and_breaks_where_a_restart_waited():
    times = np.concatenate([np.arange(10.0), 60 + np.arange(10.0)])
    stages = ("consensus",) * 10 + ("joint",) * 10
    traces = [Trace(times, times, 0, stages), Trace(20 + np.arange(10.0), np.arange(10.0), 1, stages[:10])]
    figure = trace_figure(traces, "evidence", chosen=0, stages=("starts", "consensus", "joint"))
    assert np.isnan(figure.axes[0].lines[1].get_xdata()).sum() == 1
    assert [text.get_text() for text in figure.axes[0].texts] == ["2", "3"]
    svg = _valid(figure)
    assert "other restarts" in svg


def test_a_trace_of_one_point_and_none_are_drawn():
    _valid(trace_figure([Trace(np.array([1.0]), np.array([2.0]))], "evidence"))
    _valid(trace_figure([], "evidence"))


def test_mollweide_keeps_areas():
    x, y = mollweide(ROTATIONS[:, 2])
    assert (x**2 / 4 + y**2).max() <= 1 + 1e-9
    # Half of the ellipse's area lies within half of its squared radius.
    assert ((x**2 / 4 + y**2) < 0.5).mean() == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(mollweide(np.array([[0.0, 0, 1], [0, 0, -1]]))[1], [1, -1])


def test_uniform_views_have_density_one():
    hexagons = view_figure(ROTATIONS).axes[0].collections[0]
    assert float(np.median(np.asarray(hexagons.get_array()))) == pytest.approx(1.0, abs=0.25)
    _valid(view_figure(ROTATIONS[:3]))


def test_histograms_ignore_what_is_no_number():
    _valid(histogram_figure(np.array([0.1, 0.9, np.nan]), "confidence", (0, 1)))


@pytest.mark.parametrize("count", [200, 5000])
def test_latents_as_points_or_density(count):
    latents = GENERATOR.normal(size=(count, 2))
    _valid(latent_figure(latents, ("a", "b"), path=np.zeros((3, 2))))


def test_principal_components_are_sorted_and_keep_distances():
    latents = GENERATOR.normal(size=(100, 3)) * [1, 5, 2]
    turned, fractions = principal_components(latents)
    assert fractions.sum() == pytest.approx(1)
    assert (np.diff(fractions) < 0).all()
    np.testing.assert_allclose(np.linalg.norm(turned[0] - turned[1]), np.linalg.norm(latents[0] - latents[1]))


def test_low_pass_halves_at_its_resolution():
    wave = np.cos(2 * np.pi * np.arange(32) * 4 / 32)
    passed = low_passed(np.tile(wave, (1, 32, 1)), pixel_size_A=2.0, resolution_A=16.0)
    assert np.abs(passed).max() == pytest.approx(0.5, rel=1e-5)


def test_pictures_have_their_sizes_and_a_flat_one_does_not_divide_by_zero():
    volume = GENERATOR.normal(size=(20, 20, 20))
    slices, sums = map_pictures(volume, 50)
    assert [p.shape for p in slices + sums] == [(50, 50)] * 6
    assert grey_picture(np.zeros((8, 8)), 16).max() == 0
    raw, smooth = particle_pictures(GENERATOR.normal(size=(2, 16, 16)), 2.0, size_px=40)
    assert len(raw) == len(smooth) == 2
    with pytest.raises(InputError, match="need a cube"):
        map_pictures(np.zeros((4, 4, 5)))


def test_central_part_keeps_a_particle_and_some_room():
    volume = np.zeros((64, 64, 64))
    volume[28:37, 28:37, 28:37] = 1
    assert 32 <= central_part(volume).shape[0] < 64
    assert central_part(np.zeros((16, 16, 16))).shape[0] == 16 // 2


def test_labels_that_would_overlap_take_another_row() -> None:
    assert label_rows([0, 10, 50], [20, 20, 20]) == [0, 1, 0]
    assert label_rows([30, 0, 5, 8], [10, 25, 10, 10]) == [0, 0, 1, 2]
    assert label_rows([], []) == []


def test_a_few_strays_do_not_shrink_the_plane() -> None:
    """What is drawn and the path fill the window, though the grid reaches ten times as far."""
    grid = np.linspace(-50, 50, 101)
    drawn = np.abs(grid - 3) < 4.5
    low, high = shown_window(grid, drawn)
    assert (low, high) == pytest.approx((-1 - 0.64, 7 + 0.64))
    assert shown_window(grid, grid == 3) == pytest.approx((2.92, 3.08))
    assert shown_window(grid, drawn, np.array([0.0, 20.0]))[1] == pytest.approx(20 + 0.08 * 21)

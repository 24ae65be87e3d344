import numpy as np
import pytest

from nunatak.core.errors import InputError
from nunatak.metrics.fsc import area_under_fsc, first_shell_below, fourier_shell_correlation, resolution_A


def _slow_fsc(first, second):
    """The definition, shell by shell, on the full transform."""
    box = first.shape[0]
    a, b = (np.fft.fftshift(np.fft.fftn(v)) for v in (first, second))
    r = np.arange(box) - box // 2
    shell = np.sqrt(r[:, None, None] ** 2 + r[None, :, None] ** 2 + r**2).round()
    curve = []
    for k in range(box // 2 + 1):
        x, y = a[shell == k], b[shell == k]
        curve.append((x * y.conj()).real.sum() / np.sqrt((abs(x) ** 2).sum() * (abs(y) ** 2).sum()))
    return np.array(curve)


@pytest.mark.parametrize("box", [16, 17])
def test_agrees_with_the_definition(box):
    generator = np.random.default_rng(0)
    first = generator.normal(size=(box, box, box))
    second = first + generator.normal(size=first.shape)
    np.testing.assert_allclose(fourier_shell_correlation(first, second), _slow_fsc(first, second), atol=1e-12)


def test_same_map_correlates_fully_and_a_flat_one_not_at_all():
    volume = np.random.default_rng(0).normal(size=(16, 16, 16))
    np.testing.assert_allclose(fourier_shell_correlation(volume, 2 * volume), 1.0)
    assert fourier_shell_correlation(volume, np.zeros_like(volume)).max() == 0


def test_maps_of_different_boxes_are_refused():
    with pytest.raises(InputError, match="two cubic maps of one box"):
        fourier_shell_correlation(np.zeros((8, 8, 8)), np.zeros((6, 6, 6)))


def test_resolution_is_interpolated_between_shells():
    curve = np.array([1.0, 0.9, 0.643, 0.0, 0.0])
    assert resolution_A(curve, 8, 2.0, 0.143) == pytest.approx(16 / (2 + 0.5 / 0.643))
    assert first_shell_below(curve, 0.143) == 3


def test_no_resolution_when_the_first_shell_disagrees_and_the_last_when_none_does():
    assert resolution_A(np.array([1.0, 0.1, 0.9]), 4, 2.0) is None
    assert resolution_A(np.ones(5), 8, 2.0) == pytest.approx(4.0)
    assert first_shell_below(np.ones(5)) == 4


def test_area_is_at_most_a_half_and_ignores_negative_values():
    assert area_under_fsc(np.ones(33)) == pytest.approx(0.5)
    assert area_under_fsc(-np.ones(33)) == 0

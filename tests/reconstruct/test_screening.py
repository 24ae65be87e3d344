"""Images without a molecule, known by their spectra."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from _small_runs import small_context, small_set, true_model

from nunatak.particles.cache import ImageCache, build_cache
from nunatak.particles.truth import Truth
from nunatak.reconstruct.model import half_sums
from nunatak.reconstruct.screening import image_powers, sound_images
from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.dataset import simulate_particles


def simulated(**changes: object) -> tuple[ImageCache, Truth]:
    given, truth = simulate_particles(SimulationConfig(particles=800, box_px=48, snr=0.15, seed=2, **changes))
    return build_cache(given, sign=1, circle_px=20), truth


def sound(cache: ImageCache) -> torch.Tensor:
    return sound_images(cache, torch.minimum(cache.background_power, cache.image_power()))


@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_junk_is_left_out_and_most_molecules_are_kept(fraction: float) -> None:
    cache, truth = simulated(junk_fraction=fraction, contrast_sd=0.15)
    kept = sound(cache)
    # Measured 0.05 and 0.01 of the junk, 0.975 and 0.955 of the molecules.
    assert float(kept[truth.junk].float().mean()) < 0.1
    assert float(kept[~truth.junk].float().mean()) > 0.93


@pytest.mark.parametrize("motion", ["rigid", "assembly"])
def test_without_junk_every_image_is_kept(motion: str) -> None:
    cache, _ = simulated(motion=motion, contrast_sd=0.15)
    assert bool(sound(cache).all())


def test_noise_alone_is_not_divided() -> None:
    cache, _ = small_set(particles=300, box_px=32, snr=0.0)
    assert bool(sound(cache).all())


def test_power_is_that_of_each_shell() -> None:
    cache, _ = small_set()
    found = image_powers(cache, 5)
    for shell in range(1, 6):
        inside = cache.plane.shells == shell
        torch.testing.assert_close(found[:, shell - 1], (cache.samples[:, inside].abs() ** 2).sum(1))


def test_what_is_not_sound_is_in_no_map_and_in_no_start() -> None:
    cache, truth = small_set()
    context = small_context(cache)
    keep = torch.rand(len(cache), generator=torch.Generator().manual_seed(0)) < 0.7
    context.__dict__["sound"] = keep
    assert bool(keep[context.held_out].all())
    model = replace(true_model(context, truth, 6), sound=keep)
    first, second = half_sums(model, cache, 6)
    alone = replace(model, sound=None, halves=torch.where(keep, model.halves, 2))
    expected = half_sums(alone, cache, 6)
    torch.testing.assert_close(first.denominator, expected[0].denominator)
    torch.testing.assert_close(second.numerator, expected[1].numerator)

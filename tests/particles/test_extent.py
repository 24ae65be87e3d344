"""How large the particles are, seen in the images."""

from __future__ import annotations

import torch

from nunatak.core.fourier import sample_images
from nunatak.particles.cache import ImageCache, build_cache
from nunatak.particles.extent import particle_radius, power_by_ring
from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.dataset import simulate_particles

BOX = 64


def cache_of(count: int, snr: float, box_px: int = BOX) -> ImageCache:
    config = SimulationConfig(particles=count, box_px=box_px, snr=snr, seed=2)
    return build_cache(simulate_particles(config)[0], sign=1, circle_px=0.42 * box_px)


def blobs(radius_px: float, noise: float, count: int = 400) -> ImageCache:
    """Images of discs that flicker, with a contrast transfer function, in noise."""
    cache = cache_of(count, 1.0)
    generator = torch.Generator().manual_seed(1)
    line = torch.arange(BOX) - BOX // 2
    inside = torch.hypot(line[:, None].float(), line[None].float()) <= radius_px
    flicker = torch.randn(count, BOX, BOX, generator=generator) * inside
    plane = cache.plane
    samples = sample_images(flicker, plane) * cache.transfer
    samples = samples + sample_images(noise * torch.randn(count, BOX, BOX, generator=generator), plane)
    return ImageCache(samples, cache.transfer, plane, cache.pixel_size_A, *rest_of(cache))


def rest_of(cache: ImageCache) -> tuple[object, ...]:
    return cache.background_power, cache.flat_images, cache.optics


def test_a_disc_lies_inside_and_a_larger_one_needs_more() -> None:
    found = [particle_radius(power_by_ring(blobs(radius, 0.3))) * BOX for radius in (8.0, 14.0)]
    # What the CTF spread of the sharp rim counts as particle, too.
    assert 8 <= found[0] < 0.9 * found[1]
    assert 14 <= found[1] < 0.42 * BOX


def test_noise_has_no_radius() -> None:
    cache = cache_of(300, 1.0)
    generator = torch.Generator().manual_seed(3)
    samples = sample_images(torch.randn(300, BOX, BOX, generator=generator), cache.plane)
    noise = ImageCache(samples, cache.transfer, cache.plane, cache.pixel_size_A, *rest_of(cache))
    assert particle_radius(power_by_ring(noise)) is None


def test_few_images_show_none() -> None:
    assert particle_radius(power_by_ring(cache_of(30, 0.05, 32))) is None


def test_a_molecule_lies_inside() -> None:
    """The mask must cut nothing off: of the true map hardly anything lies outside the radius found."""
    config = SimulationConfig(particles=2000, box_px=BOX, snr=0.1, motion="hinge", states=5, seed=2)
    particles, truth = simulate_particles(config)
    found = particle_radius(power_by_ring(build_cache(particles, sign=1, circle_px=0.42 * BOX)))
    line = (torch.arange(BOX) - BOX // 2).float()
    radius = (line[:, None, None] ** 2 + line[:, None] ** 2 + line**2).sqrt()
    beyond = truth.volumes.square()[:, radius > found * BOX].sum()
    assert found < 0.45
    assert float(beyond / truth.volumes.square().sum()) < 0.002


def test_one_noisy_ring_far_out_is_no_particle() -> None:
    """A ring at 0.42 of the box that stands out by 2.5 % of the centre, and noise of 0.5 % on all rings."""
    radius = torch.arange(BOX // 2).float()
    noise = 0.004 * torch.randn(len(radius), generator=torch.Generator().manual_seed(5))
    power = 1 + 0.8 * (radius < 14).float() + noise
    power[round(0.42 * BOX)] += 0.02
    assert particle_radius(power) == 13 / BOX + 2 / 64

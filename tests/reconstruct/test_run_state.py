"""The context of a run: streams of randomness, who is held out, half-sets, limits, progress."""

from __future__ import annotations

import torch
from _small_runs import small_context, small_set

from nunatak.reconstruct.state import Relay


def test_relay_tells_whoever_listens_now() -> None:
    relay, first, second = Relay(), [], []
    relay(0.1)
    relay.target = first.append
    relay(0.5)
    relay.target = second.append
    relay(0.75)
    assert (first, second) == ([0.5], [0.75])


def test_contexts_do_not_share_a_relay() -> None:
    cache = small_set()[0]
    assert small_context(cache).progress is not small_context(cache).progress


def test_streams_depend_on_seed_and_purpose_alone() -> None:
    cache = small_set()[0]
    draw = lambda context, *purpose: float(torch.rand(1, generator=context.generator(*purpose)))  # noqa: E731
    one, same, other = small_context(cache), small_context(cache), small_context(cache, seed=1)
    draws = [draw(one, *purpose) for purpose in ((11,), (13,), (17, 0, 0), (17, 0, 1), (17, 1, 0))]
    assert len(set(draws)) == len(draws)
    assert draw(same, 17, 0, 1) == draws[3]
    assert draw(other, 17, 0, 1) != draws[3]
    # Asking one stream for more does not move another.
    torch.rand(1000, generator=same.generator(11))
    assert draw(same, 13) == draws[1]


def test_a_tenth_is_held_out_and_halves_are_equal() -> None:
    context = small_context(small_set(particles=81)[0])
    assert len(context.held_out) == 8
    assert context.held_out.tolist() == sorted(set(context.held_out.tolist()))
    assert torch.bincount(context.halves).tolist() == [41, 40]
    # Half-sets are not in the input's order.
    assert (context.halves[1:] != context.halves[:-1]).sum() > 20


def test_the_limit_follows_the_resolution_that_is_allowed() -> None:
    cache = small_set()[0]
    assert small_context(cache).limit_px == cache.plane.radius_px == 7
    assert small_context(cache, resolution_limit_A=cache.extent_A / 5.5).limit_px == 5
    assert small_context(cache, resolution_limit_A=1e6).limit_px == 4


def test_starts_stay_within_the_images() -> None:
    """A box of 16 holds 7 Fourier pixels, whatever radius the configuration names."""
    context = small_context(small_set()[0], radius_start_px=14, radius_end_px=20, start_batch=200)
    assert context.consensus.radius_end_px <= 7
    assert context.consensus.radius_start_px < context.consensus.radius_end_px
    assert context.consensus.batch == (80 - 8) // 4
    # Shifts are given in 64ths of the box.
    assert context.consensus.shift_extent_px == 4.5 * 16 / 64


def test_noise_is_never_more_than_the_whole_image() -> None:
    context = small_context(small_set()[0])
    assert (context.noise_variance <= context.cache.image_power()).all()
    assert (context.noise_variance > 0).all()

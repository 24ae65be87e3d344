"""The subspace grows where the molecule is: a small part that half of the particles have is found."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from _small_runs import small_context, small_set, true_model
from torch import Tensor

from nunatak.projection.gridding import block_from_maps
from nunatak.projection.operator import slice_block
from nunatak.reconstruct import passes
from nunatak.reconstruct.model import Model, maximize
from nunatak.reconstruct.state import Context, RunState

BOX, COUNT, RADIUS, PASSES = 32, 900, 10, 8


def blob(centre: tuple[float, float, float], width: float) -> Tensor:
    axis = torch.arange(BOX, dtype=torch.float32) - BOX // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    away = torch.stack([x, y, z], -1) - torch.tensor(centre)
    return torch.exp(-(away**2).sum(-1) / (2 * width**2))


def with_a_small_part(strength: float) -> tuple[Context, Model, Tensor]:
    """Images of a molecule of five blobs, half of them with a sixth, in noise; which have it."""
    noise, truth = small_set(COUNT, BOX, 0.0)
    places = ((0, 0, 0), (5, 0, 0), (0, 5, 1), (-4, -2, 3), (1, -3, -5))
    body = torch.stack([blob(place, 1.8) for place in places]).sum(0)
    block = block_from_maps(torch.stack([body, blob((6.0, 4.0, 0.0), 1.2)]), RADIUS)
    inside = noise.plane.count_within(RADIUS)
    seen = slice_block(block, truth.rotations, noise.plane.frequencies[:inside])
    has = torch.rand(COUNT, generator=torch.Generator().manual_seed(8)) < 0.5
    image = seen[..., 0] + has[:, None] * seen[..., 1]
    image = strength * image / image[:, 1:].abs().square().mean().sqrt()
    samples = noise.samples.clone()
    samples[:, :inside] += noise.transfer[:, :inside] * image
    context = small_context(replace(noise, samples=samples), radius_end_px=17, latent_dim=3)
    model = true_model(context, truth, RADIUS)
    own = replace(model.candidates, shifts_px=torch.zeros(COUNT, 2))
    model = replace(model, candidates=own, noise_variance=small_context(noise).noise_variance)
    return context, maximize(model, context.cache, RADIUS, context.mask_fraction, True), has


def told_apart(context: Context, model: Model, has: Tensor) -> float:
    """Share of the variance of "has the part" that the latents explain after growing."""
    state = RunState(model=model)
    for done in range(PASSES):
        state = passes.grow_pass(replace(state, passes=done), context)
    latents = state.oriented.candidates.latents
    design = torch.cat([torch.ones(COUNT, 1), latents], 1)
    wanted = has.float()[:, None]
    left = wanted - design @ torch.linalg.lstsq(design, wanted).solution
    return 1 - float(left.var() / wanted.var())


def test_a_small_part_is_found_in_the_molecule_and_lost_in_the_solvent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context, model, has = with_a_small_part(2.5)
    found = told_apart(context, model, has)
    monkeypatch.setattr(passes, "differing_in_the_molecule", lambda model: model)
    lost = told_apart(context, model, has)
    # Measured 0.43 and 0.04.
    assert found > 0.3
    assert lost < 0.12

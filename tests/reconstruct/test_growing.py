"""The subspace grows where the molecule is: a small part that half of the particles have is found."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from _made_images import blobs, images_of
from torch import Tensor

from nunatak.reconstruct import model as model_maps
from nunatak.reconstruct import passes
from nunatak.reconstruct.model import Model, maximize
from nunatak.reconstruct.state import Context, RunState

BOX, COUNT, RADIUS, PASSES = 32, 900, 10, 8


def with_a_small_part(strength: float) -> tuple[Context, Model, Tensor]:
    """Images of a molecule of five blobs, half of them with a sixth, in noise; which have it."""
    places = torch.tensor([[0.0, 0, 0], [5, 0, 0], [0, 5, 1], [-4, -2, 3], [1, -3, -5]])
    maps = torch.stack([blobs(places, 1.8, BOX), blobs(torch.tensor([[6.0, 4.0, 0.0]]), 1.2, BOX)])
    has = torch.rand(COUNT, generator=torch.Generator().manual_seed(8)) < 0.5
    weights = torch.stack([torch.ones(COUNT), has.float()], 1)
    context, model = images_of(maps, weights, strength, RADIUS, radius_end_px=17, latent_dim=3)
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
    everywhere = lambda density, *least: torch.ones_like(density)  # noqa: E731
    monkeypatch.setattr(passes, "molecular_support", everywhere)
    monkeypatch.setattr(model_maps, "molecular_support", everywhere)
    lost = told_apart(context, model, has)
    # Measured 0.43 and 0.04.
    assert found > 0.3
    assert lost < 0.12

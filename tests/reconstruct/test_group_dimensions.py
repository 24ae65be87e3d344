"""What groups of latents show that all particles together do not."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import lru_cache

import pytest
import torch
from _made_images import blobs, images_of
from torch import Tensor

from nunatak.reconstruct import group_dimensions
from nunatak.reconstruct.dimensions import LEAST_CORRELATION
from nunatak.reconstruct.group_dimensions import ADDED, apart, group_dimensions_pass, have_added
from nunatak.reconstruct.model import Model, maximize
from nunatak.reconstruct.molecules import likeliest_groups
from nunatak.reconstruct.passes import COUNTED, with_gauge
from nunatak.reconstruct.recipes import ab_initio, fixed_poses
from nunatak.reconstruct.state import Context, RunState

BOX, COUNT, RADIUS = 32, 1200, 10


@lru_cache(maxsize=2)
def of_two_groups(strength: float, small: float) -> tuple[Context, Model, Tensor, Tensor]:
    """Half of the particles have a large part, and half of these a small one too; latents know of the large.

    Returns
    -------
    the context, the model, and which particles have the large part and which the small one
    """
    generator = torch.Generator().manual_seed(8)
    body = torch.tensor([[0.0, 0, 0], [5, 0, 0], [0, 5, 1], [-4, -2, 3], [1, -3, -5]])
    large, knob = torch.tensor([[-3.0, 6.0, -3.0]]), torch.tensor([[6.0, 4.0, 0.0]])
    maps = torch.stack([blobs(body, 1.8, BOX), blobs(large, 2.0, BOX), small * blobs(knob, 1.4, BOX)])
    kind = torch.rand(COUNT, generator=generator) < 0.5
    has = kind & (torch.rand(COUNT, generator=generator) < 0.5)
    weights = torch.stack([torch.ones(COUNT), kind.float(), has.float()], 1)
    settings = {"radius_end_px": 17, "latent_dim": "auto"}
    context, model = images_of(maps, weights, strength, RADIUS, **settings)
    known = 2 * kind.float()[:, None] - 1 + 0.1 * torch.randn(COUNT, 1, generator=generator)
    own = replace(model.candidates, latents=known)
    model = replace(model, candidates=own, covariances=torch.full((COUNT, 1, 1), 0.01))
    made = maximize(model, context.cache, RADIUS, context.mask_fraction, True)
    return context, with_gauge(made), kind, has


def found(model: Model, context: Context) -> RunState:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group_dimensions, "LEAST_MEMBERS", 300)
        return group_dimensions_pass(RunState(model=model, kept={COUNTED: 1}), context)


def explained(latents: Tensor, wanted: Tensor) -> float:
    """Share of the variance of yes and no that latents explain."""
    design = torch.cat([torch.ones(len(latents), 1), latents], 1)
    yes = wanted.float()[:, None]
    return 1 - float((yes - design @ torch.linalg.lstsq(design, yes).solution).var() / yes.var())


def test_a_part_that_some_of_a_group_have_becomes_a_dimension() -> None:
    context, model, kind, has = of_two_groups(2.5, 1.0)
    state = found(model, context)
    assert state.kept[ADDED] == 1
    assert state.kept[COUNTED] == 2
    assert have_added(state)
    wide = state.oriented
    assert wide.candidates.latents.shape == (COUNT, 2)
    assert wide.covariances.shape == (COUNT, 2, 2)
    assert wide.maps.shape[1] == 3
    before = explained(model.candidates.latents[kind], has[kind])
    after = explained(wide.candidates.latents[kind], has[kind])
    assert before < 0.05
    assert after > 0.3


def test_groups_that_are_alike_within_add_nothing() -> None:
    """Measured 0.41 at most: few voxels and images; 0.2 at real sizes (docs/decisions/0018)."""
    context, model, *_ = of_two_groups(2.5, 0.0)
    state = found(model, context)
    groups = state.history[-1]["groups"]
    assert len(groups) == 2
    assert state.kept[ADDED] == 0
    assert not have_added(state)
    assert state.kept[COUNTED] == 1
    assert torch.equal(state.oriented.maps, model.maps)
    assert max(group["shared_directions"][0] for group in groups) < LEAST_CORRELATION - 0.02


def test_a_small_set_is_not_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many groups as are tried can be more than there are particles."""
    context, model, *_ = of_two_groups(2.5, 1.0)
    monkeypatch.setattr(group_dimensions, "LEAST_MEMBERS", COUNT + 1)
    monkeypatch.delattr(group_dimensions, "likeliest_groups")
    state = group_dimensions_pass(RunState(model=model, kept={COUNTED: 1}), context)
    assert state.history[-1]["groups"] == []
    assert state.kept[COUNTED] == 1


def test_no_more_dimensions_than_a_run_may_have() -> None:
    context, model, *_ = of_two_groups(2.5, 1.0)
    full = replace(
        model,
        maps=torch.cat([model.maps, torch.zeros(1, 7, *model.maps.shape[2:])], 1),
        candidates=replace(
            model.candidates, latents=torch.cat([model.candidates.latents, torch.zeros(COUNT, 7)], 1)
        ),
        covariances=torch.zeros(COUNT, 8, 8),
    )
    assert found(full, context).kept[ADDED] == 0


def test_groups_are_as_many_as_the_latents_show() -> None:
    generator = torch.Generator().manual_seed(3)
    label = torch.randint(0, 3, (1500,), generator=generator)
    corners = torch.tensor([[2.0, 0.0], [-2.0, 0.5], [0.0, -2.5]])
    latents = corners[label] + 0.2 * torch.randn(1500, 2, generator=generator)
    shares = likeliest_groups(latents, 8, 0)
    assert shares.shape == (1500, 3)
    pairs = torch.stack([label, shares.argmax(1)], 1).unique(dim=0)
    assert len(pairs) == 3
    assert len(apart(shares)) == 3


def test_pieces_of_a_path_are_no_groups() -> None:
    generator = torch.Generator().manual_seed(5)
    path = 3 * torch.rand(3000, generator=generator) - 1.5
    latents = torch.stack([path, path**2 - 0.75], 1) + 0.15 * torch.randn(3000, 2, generator=generator)
    shares = likeliest_groups(latents, 8, 0)
    assert shares.shape[1] > 1
    assert apart(shares) == []


def test_groups_that_overlap_are_asked_as_one() -> None:
    shares = torch.tensor([[0.6, 0.4, 0.0]] * 5 + [[0.3, 0.7, 0.0]] * 5 + [[0.0, 0.01, 0.99]] * 6)
    found = [members.nonzero().flatten().tolist() for members in apart(shares)]
    assert sorted(found) == [list(range(10)), list(range(10, 16))]


def test_only_runs_that_count_their_dimensions_look_for_more() -> None:
    name = "dimensions within groups"
    context = of_two_groups(2.5, 1.0)[0]
    given = context.config.model_copy(update={"latent_dim": 4})
    for plan in (ab_initio, fixed_poses):
        assert name in [stage.name for stage in plan(context.config).stages]
        assert name not in [stage.name for stage in plan(given).stages]


def test_particles_in_one_place_are_one_group() -> None:
    """Of copies of an image; sklearn would warn of clusters that are not there."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shares = likeliest_groups(torch.ones(600, 3), 8, 0)
        two = likeliest_groups(torch.eye(2).repeat(300, 1), 8, 0)
    assert shares.shape == (600, 1)
    assert two.argmax(1).unique(return_counts=True)[1].tolist() == [300, 300]

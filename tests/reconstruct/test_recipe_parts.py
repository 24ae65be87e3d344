"""Recipes are data: listed by name, made of parts, and refused in a sentence where they do not fit."""

from __future__ import annotations

import pytest
from _small_runs import small_context, small_set

from nunatak.core.errors import InputError
from nunatak.reconstruct import parts
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.loop import run
from nunatak.reconstruct.recipes import RECIPES, find_recipe
from nunatak.reconstruct.stages import PoseSource, Recipe


def test_a_recipe_is_a_new_combination_of_parts() -> None:
    """Orienting alone, without refinement: nothing but this test knows of the recipe."""
    mine = Recipe(
        "orienting-alone",
        "a start, one search over the grid, maps",
        PoseSource.FOUND,
        (parts.random_starts, parts.global_orientation, parts.final_maps),
    )
    context = small_context(small_set()[0])
    found = find_recipe("orienting-alone", PoseSource.FOUND, (*RECIPES, mine))
    state = run(found.plan(context.config), context)
    assert [record["stage"] for record in state.history][-1] == "orienting all particles"
    assert state.maps is not None


def test_names_are_unique_and_summaries_are_one_line() -> None:
    names = [recipe.name for recipe in RECIPES]
    assert len(names) == len(set(names))
    for recipe in RECIPES:
        assert 10 < len(recipe.summary) < 90
        assert "\n" not in recipe.summary


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_recipe_ends_in_maps(recipe: Recipe) -> None:
    """Whatever settles the outcome early, the last stage still writes maps and confidences."""
    for latent_dim in (0, 2):
        stages = recipe.plan(EngineConfig(latent_dim=latent_dim)).stages
        assert stages[-1].always
        assert all(stage.limit >= 1 for stage in stages)


def test_the_default_depends_on_whether_poses_are_given() -> None:
    assert find_recipe("nunatak", PoseSource.FOUND).name == "nunatak"
    assert find_recipe("nunatak", PoseSource.GIVEN).name == "fixed-poses"


def test_a_recipe_that_does_not_fit_gets_a_sentence() -> None:
    with pytest.raises(InputError, match=r"no recipe 'nosuch'; expected one of: .*nunatak"):
        find_recipe("nosuch", PoseSource.FOUND)
    with pytest.raises(InputError, match="'fixed-poses' needs poses: use `nunatak heterogeneity`"):
        find_recipe("fixed-poses", PoseSource.FOUND)

"""The registry: every recipe by its name. A recipe is parts in order; a new one is a line of RECIPES."""

from __future__ import annotations

from nunatak.core.errors import InputError
from nunatak.reconstruct import mixture, neural_recipes, parts, searching, variability
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.molecule_stages import several_molecules
from nunatak.reconstruct.stages import Plan, PoseSource, Recipe, Stage

__all__ = ["RECIPES", "Plan", "Recipe", "Stage", "ab_initio", "find_recipe", "fixed_poses"]

NUNATAK = Recipe(
    "nunatak",
    "marginal search, linear subspace, no encoder (default)",
    PoseSource.FOUND,
    (
        parts.random_starts,
        parts.global_orientation,
        parts.local_refinement,
        parts.joint_subspace,
        several_molecules,
        parts.frames_of_states,
        parts.dimensions_of_groups,
        parts.second_look,
        parts.states_of_one,
        parts.curved_landscape,
        parts.final_maps,
    ),
    shared=True,
)
FIXED_POSES = Recipe(
    "fixed-poses",
    "latents in closed form, maps (default where poses are given)",
    PoseSource.GIVEN,
    (
        parts.given_poses,
        parts.held_subspace,
        parts.held_dimensions_of_groups,
        parts.held_landscape,
        parts.final_maps,
    ),
    shared=True,
)
REFINED_POSES = Recipe(
    "refined-poses",
    "given poses refined locally, with the latents, as far as half-sets agree",
    PoseSource.GIVEN,
    (
        parts.given_poses,
        parts.refinement_from_given,
        parts.joint_subspace,
        parts.dimensions_of_groups,
        parts.states_of_one,
        parts.curved_landscape,
        parts.final_maps,
    ),
    shared=True,
)

# A file with recipes of its own adds `*its_module.RECIPES`.
RECIPES: tuple[Recipe, ...] = (
    NUNATAK,
    FIXED_POSES,
    REFINED_POSES,
    *searching.RECIPES,
    *mixture.RECIPES,
    *variability.RECIPES,
    *neural_recipes.RECIPES,
)


def ab_initio(config: EngineConfig) -> Plan:
    """The default recipe's stages: poses, latents and maps from nothing."""
    return NUNATAK.plan(config)


def fixed_poses(config: EngineConfig) -> Plan:
    """The default stages where poses are given: latents and maps."""
    return FIXED_POSES.plan(config)


def find_recipe(name: str, poses: PoseSource, known: tuple[Recipe, ...] = RECIPES) -> Recipe:
    """The recipe of a name.

    Parameters
    ----------
    name : str
        "nunatak" is the default of either source of poses.
    poses : PoseSource
        What the command gives: found for `nunatak abinit`, given for `nunatak heterogeneity`.

    Raises
    ------
    InputError
        There is no such recipe, or it needs poses that are not given, or finds those that are.
    """
    if name == NUNATAK.name and poses is PoseSource.GIVEN:
        return FIXED_POSES
    fitting = ", ".join(recipe.name for recipe in known if recipe.poses is poses)
    found = next((recipe for recipe in known if recipe.name == name), None)
    if found is None:
        raise InputError(f"There is no recipe '{name}'; expected one of: {fitting}.")
    if found.poses is not poses:
        remedy = "heterogeneity" if found.poses is PoseSource.GIVEN else "abinit"
        says = "needs poses" if found.poses is PoseSource.GIVEN else "finds poses itself and takes none"
        raise InputError(f"The recipe '{name}' {says}: use `nunatak {remedy}`, or one of: {fitting}.")
    return found

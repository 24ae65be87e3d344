"""Recipes: named lists of stages. A stage is data; the loop that runs it knows none of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nunatak.core.errors import InputError
from nunatak.reconstruct import passes
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.fixed import fixed_grow_pass, given_poses_pass
from nunatak.reconstruct.frames import frame_pass
from nunatak.reconstruct.orient import orient_pass
from nunatak.reconstruct.starts import agreed, decided, open_pass, race_length, race_pass
from nunatak.reconstruct.state import Context, RunState


@dataclass(frozen=True)
class Stage:
    """Passes of one kind.

    Attributes
    ----------
    name : str
        What the user reads while it runs.
    advance : function
        One pass: (state, context) to state.
    limit : int
        At most so many passes.
    finished : function of a state
        True ends the stage early.
    cost : float
        Expected time of a pass relative to others, for the time left.
    always : bool
        Run even when an earlier stage has settled the outcome.
    """

    name: str
    advance: Callable[[RunState, Context], RunState]
    limit: int
    finished: Callable[[RunState], bool] = lambda state: False
    cost: float = 1.0
    always: bool = False


@dataclass(frozen=True)
class Recipe:
    """A named way to reconstruct.

    Attributes
    ----------
    name, summary : str
    stages : tuple of Stage
    """

    name: str
    summary: str
    stages: tuple[Stage, ...]


def _finish() -> Stage:
    return Stage("final maps and confidence", passes.finish_pass, 1, cost=1.5, always=True)


def _decided(config: EngineConfig) -> Callable[[RunState], bool]:
    return lambda state: decided(state, config.start_updates)


def ab_initio(config: EngineConfig) -> Recipe:
    """Poses, latents and maps from nothing."""
    stages = [
        Stage("random starts", open_pass, config.restarts, agreed),
        Stage("race of the starts", race_pass, race_length(config.restarts), _decided(config)),
        Stage("orienting all particles", orient_pass, 1, cost=2.0),
    ]
    if config.latent_dim:
        cost = 1 + 0.2 * config.latent_dim
        stages += [
            Stage("consensus refinement", passes.refine_pass, 2, cost=1.0),
            Stage("growing the subspace", passes.grow_pass, config.grow_passes, cost=0.5 * cost),
            Stage("poses and latents", passes.joint_pass, config.joint_passes, cost=2 * cost),
            Stage("independent half-sets", passes.split_pass, 2, cost=cost),
            Stage("one frame for all states", frame_pass, 1, cost=2 * cost),
            Stage("settling in the frame", passes.settle_pass, 2, cost=0.5 * cost),
        ]
    else:
        stages.append(Stage("refinement", passes.refine_pass, config.refine_passes, passes.settled))
    return Recipe("nunatak", "marginal search, linear subspace, no encoder (default)", (*stages, _finish()))


def fixed_poses(config: EngineConfig) -> Recipe:
    """Latents and maps from given poses."""
    stages = [Stage("maps from given poses", given_poses_pass, 1)]
    if config.latent_dim:
        stages.append(Stage("growing the subspace", fixed_grow_pass, config.grow_passes))
    return Recipe("fixed-poses", "poses given: latents in closed form, maps", (*stages, _finish()))


def find_recipe(config: EngineConfig) -> Recipe:
    """The ab initio recipe that a configuration names.

    Raises
    ------
    InputError
        When there is no such recipe.
    """
    known = {"nunatak": ab_initio}
    if config.recipe not in known:
        raise InputError(
            f"There is no recipe '{config.recipe}'; expected one of: {', '.join(sorted(known))}."
        )
    return known[config.recipe](config)

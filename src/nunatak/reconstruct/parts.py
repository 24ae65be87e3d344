"""The default engine's parts. A part gives the stages for a configuration, so recipes share them freely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from nunatak.reconstruct import passes
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.curve import curve_pass, latents_pass, states_pass
from nunatak.reconstruct.dimensions import count_pass, is_flexible, is_rigid
from nunatak.reconstruct.fixed import fixed_grow_pass, given_poses_pass, refine_given_pass
from nunatak.reconstruct.frames import frame_pass
from nunatak.reconstruct.group_dimensions import group_dimensions_pass, have_added
from nunatak.reconstruct.molecule_stages import are_several
from nunatak.reconstruct.orient import orient_pass
from nunatak.reconstruct.stages import Stage
from nunatak.reconstruct.starts import agreed, decided, open_pass, race_length, race_pass
from nunatak.reconstruct.state import Context, RunState
from nunatak.reconstruct.turned_states import turn_pass, were_turned

# The passes that look around: then there is a model of the states to look again with.
_BEFORE_THE_SECOND_LOOK = 5
# Of latents with the components that groups have added.
_PASSES_WITH_GROUPS = 3


def random_starts(config: EngineConfig) -> tuple[Stage, ...]:
    """A map from nothing: a race of random starts on small batches."""

    def settled(state: RunState) -> bool:
        return decided(state, config.start_updates)

    return (
        Stage("random starts", open_pass, config.restarts, agreed),
        Stage("race of the starts", race_pass, race_length(config.restarts), settled),
    )


def global_orientation(config: EngineConfig) -> tuple[Stage, ...]:
    """A pose for every particle, over the whole grid, then locally; or the verdict that there is none."""
    return (Stage("orienting all particles", orient_pass, 1, cost=2.0),)


def _applies(config: EngineConfig) -> Callable[[RunState], bool]:
    """When stages with latents apply: to one molecule, always or where dimensions were counted."""

    def applies(state: RunState) -> bool:
        return (is_flexible(state) or not config.counts_latents) and not are_several(state)

    return applies


def local_refinement(config: EngineConfig) -> tuple[Stage, ...]:
    """Homogeneous refinement of poses by half-sets; two passes of it where latents may follow."""
    return _refinement(config, passes.refine_pass)


def refinement_from_given(config: EngineConfig) -> tuple[Stage, ...]:
    """The same around given poses, as far as the half-sets agree from the first pass on."""
    return _refinement(config, refine_given_pass)


def _refinement(config: EngineConfig, advance: Callable[[RunState, Context], RunState]) -> tuple[Stage, ...]:
    rigid = Stage("refinement", advance, config.refine_passes, passes.settled)
    brief = Stage("consensus refinement", advance, 2)
    if config.counts_latents:
        count = Stage("counting dimensions", count_pass, 1, cost=4.0)
        return brief, count, replace(rigid, applies=is_rigid)
    return (brief,) if config.most_latents else (rigid,)


def joint_subspace(config: EngineConfig) -> tuple[Stage, ...]:
    """Latents in closed form and poses, together."""
    if not config.most_latents:
        return ()
    cost, first = _joint_cost(config)
    stages = (
        Stage("growing the subspace", passes.grow_pass, config.grow_passes, cost=0.5 * cost),
        Stage("poses and latents", passes.joint_pass, first, cost=3 * cost),
    )
    return tuple(replace(stage, applies=_applies(config)) for stage in stages)


def frames_of_states(config: EngineConfig) -> tuple[Stage, ...]:
    """States that are one state turned, brought into one frame; latents are then found anew."""
    if not config.most_latents:
        return ()
    _, first = _joint_cost(config)
    applies = _applies(config)

    def still_applies(state: RunState) -> bool:
        return were_turned(state) and applies(state)

    again = (Stage("dimensions in one frame", count_pass, 1),) if config.counts_latents else ()
    later = (
        Stage("the subspace in one frame", passes.grow_pass, config.grow_passes),
        Stage("poses and latents in one frame", passes.joint_pass, first),
    )
    return (
        Stage("states that are others turned", turn_pass, 1, cost=0.5, applies=applies),
        # Most runs leave these out: counted in full they would make the progress of all others jump.
        *(replace(stage, cost=0.2, applies=were_turned) for stage in again),
        *(
            replace(stage, cost=0.2, applies=lambda state: were_turned(state) and applies(state))
            for stage in later
        ),
    )


def _joint_cost(config: EngineConfig) -> tuple[float, int]:
    """Cost of a joint pass, and how many of them come before the second look."""
    return 1 + 0.2 * config.latents, min(config.joint_passes, _BEFORE_THE_SECOND_LOOK)


def dimensions_of_groups(config: EngineConfig) -> tuple[Stage, ...]:
    """Dimensions that only particles of like latents show, where dimensions are counted."""
    cost, first = _joint_cost(config)
    return _with_groups(config, partial(passes.joint_pass, done=first), cost)


def held_dimensions_of_groups(config: EngineConfig) -> tuple[Stage, ...]:
    """The same at poses that stay as they are."""
    return _with_groups(config, partial(fixed_grow_pass, done=config.grow_passes), 1.0)


def _with_groups(
    config: EngineConfig, advance: Callable[[RunState, Context], RunState], cost: float
) -> tuple[Stage, ...]:
    if not config.counts_latents:
        return ()
    applies = _applies(config)
    return (
        Stage("dimensions within groups", group_dimensions_pass, 1, cost=4 * cost, applies=applies),
        Stage("latents with them", advance, _PASSES_WITH_GROUPS, cost=cost, applies=have_added),
    )


def second_look(config: EngineConfig) -> tuple[Stage, ...]:
    """Every particle once more over the whole grid, now that there is a model of the states."""
    if not config.most_latents:
        return ()
    cost, _ = _joint_cost(config)
    return (Stage("a second look", passes.look_pass, 1, cost=5 * cost, applies=_applies(config)),)


def states_of_one(config: EngineConfig) -> tuple[Stage, ...]:
    """The states of one molecule: more joint passes, independent half-sets, one frame for all of them."""
    if not config.most_latents:
        return ()
    cost, first = _joint_cost(config)
    rest = partial(passes.joint_pass, done=first)
    left = config.joint_passes - first
    later = (Stage("poses and latents again", rest, left, cost=cost),) if left else ()
    stages = (
        *later,
        Stage("independent half-sets", passes.split_pass, 2, cost=cost),
        Stage("one frame for all states", frame_pass, 1, cost=2 * cost),
        Stage("settling in the frame", passes.settle_pass, 2, cost=0.5 * cost),
    )
    return tuple(replace(stage, applies=_applies(config)) for stage in stages)


def curved_landscape(config: EngineConfig) -> tuple[Stage, ...]:
    """Maps that follow large motions, components of smooth functions of the latent; poses, states by them."""
    return _landscape(config, held=False)


def held_landscape(config: EngineConfig) -> tuple[Stage, ...]:
    """The same at poses that stay as they are."""
    return _landscape(config, held=True)


def _landscape(config: EngineConfig, held: bool) -> tuple[Stage, ...]:
    if not (config.most_latents and config.landscape_functions):
        return ()
    cost, applies = 4.0 + config.landscape_functions, _applies(config)
    states, latents = partial(states_pass, held=held), partial(latents_pass, held=held)
    return (
        Stage("poses and states on the landscape", states, 2, cost=cost, applies=applies),
        Stage("states by maps of all particles", latents, 1, cost=cost, applies=applies),
        Stage("maps along the landscape", curve_pass, 1, cost=0.4 * cost, applies=applies),
    )


def given_poses(config: EngineConfig) -> tuple[Stage, ...]:
    """Half maps from the poses of the particle file."""
    return (Stage("maps from given poses", given_poses_pass, 1),)


def held_subspace(config: EngineConfig) -> tuple[Stage, ...]:
    """Latents in closed form at poses that stay as they are."""
    if not config.most_latents:
        return ()
    grow = Stage("growing the subspace", fixed_grow_pass, config.grow_passes, applies=_applies(config))
    count = (Stage("counting dimensions", count_pass, 1),) if config.counts_latents else ()
    return (*count, grow)


def final_maps(config: EngineConfig) -> tuple[Stage, ...]:
    """Maps as far as the half-sets agree, confidence and junk probability: the last part of every recipe."""
    return (Stage("final maps and confidence", passes.finish_pass, 1, cost=1.5, always=True),)

"""Stages, parts and recipes: what a method is made of, as data. The loop knows none of them by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from nunatak.particles.dataset import Particles
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.state import Context, RunState


class PoseSource(StrEnum):
    """Where the poses of a recipe come from."""

    FOUND = "found"
    GIVEN = "given"


def anything_goes(config: EngineConfig, particles: Particles) -> None:
    """The check of a stage that can work with every configuration and every set of particles."""


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
    check : function
        (configuration, particles): raises InputError, before any image is read, where the stage cannot work.
    applies : function of a state
        False leaves the stage out, by what an earlier one has found.
    """

    name: str
    advance: Callable[[RunState, Context], RunState]
    limit: int
    finished: Callable[[RunState], bool] = lambda state: False
    cost: float = 1.0
    always: bool = False
    check: Callable[[EngineConfig, Particles], None] = anything_goes
    applies: Callable[[RunState], bool] = lambda state: True


Part = Callable[[EngineConfig], tuple[Stage, ...]]
"""A part of a recipe: its stages for a configuration; none where there is nothing for it to do."""


@dataclass(frozen=True)
class Plan:
    """A recipe for one configuration: what the loop runs.

    Attributes
    ----------
    name, summary : str
    stages : tuple of Stage
    shared : bool
        As in Recipe.
    """

    name: str
    summary: str
    stages: tuple[Stage, ...]
    shared: bool = False

    def check(self, config: EngineConfig, particles: Particles) -> None:
        """Raise InputError where a stage cannot work with this configuration and these particles."""
        for stage in self.stages:
            stage.check(config, particles)


@dataclass(frozen=True)
class Recipe:
    """A named way to reconstruct: a composition of parts.

    Attributes
    ----------
    name, summary : str
    poses : PoseSource
        Found by the recipe (`nunatak abinit`), or given in the particle file (`nunatak heterogeneity`).
    parts : tuple of Part
        In the order in which they run.
    shared : bool
        Whether its passes are known to work where several processes share the images (docs/decisions/0013).
    rigid : bool
        Whether it makes one map and takes no number of latents.
    """

    name: str
    summary: str
    poses: PoseSource
    parts: tuple[Part, ...]
    shared: bool = False
    rigid: bool = False

    def plan(self, config: EngineConfig) -> Plan:
        """The stages for a configuration."""
        stages = tuple(stage for part in self.parts for stage in part(config))
        return Plan(self.name, self.summary, stages, self.shared)

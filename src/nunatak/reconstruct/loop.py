"""The only loop: stages in order, passes in each, every pass announced. No recipe is named here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from nunatak.core.device import hand_back_freed
from nunatak.reconstruct.stages import Plan
from nunatak.reconstruct.state import Context, Outcome, RunState


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Attributes
    ----------
    stage : str
    passes, limit : int
        Passes done in the stage, and at most.
    fraction : float
        Of the whole run's expected cost, 0 to 1.
    """

    stage: str
    passes: int
    limit: int
    fraction: float


class Listener(Protocol):
    """What wants to know: the terminal, the checkpoint, the dashboard."""

    def on_progress(self, progress: Progress) -> None:
        """Called often, also within a pass."""

    def on_pass(self, state: RunState, stage: str) -> None:
        """Called after each pass; the last record of the history is new."""


def _fraction(recipe: Plan, state: RunState, within: float) -> float:
    costs = [stage.cost * stage.limit for stage in recipe.stages]
    done = sum(costs[: state.stage])
    if state.stage < len(costs):
        done += recipe.stages[state.stage].cost * min(state.passes + within, recipe.stages[state.stage].limit)
    return done / sum(costs)


def _at_what_applies(recipe: Plan, state: RunState) -> RunState:
    """The state at the next stage that has something to do; past the last where none has."""
    while state.stage < len(recipe.stages):
        stage = recipe.stages[state.stage]
        settled = state.outcome is not Outcome.RUNNING and not stage.always
        if not settled and (state.passes or stage.applies(state)):
            break
        state = replace(state, stage=state.stage + 1, passes=0)
    return state


def run(
    recipe: Plan, context: Context, state: RunState | None = None, listeners: Sequence[Listener] = ()
) -> RunState:
    """Run the stages of a recipe to the end, from the beginning or from the state of a checkpoint."""
    state = _at_what_applies(recipe, RunState() if state is None else state)
    hand_back_freed()
    while state.stage < len(recipe.stages):
        stage = recipe.stages[state.stage]

        def announce(
            within: float, state: RunState = state, name: str = stage.name, limit: int = stage.limit
        ) -> None:
            for listener in listeners:
                listener.on_progress(Progress(name, state.passes, limit, _fraction(recipe, state, within)))

        announce(0.0)
        known = len(state.history)
        context.progress.target = announce
        state = context.cache.share.agreed(stage.advance(state, context))
        hand_back_freed()
        named = tuple({"stage": stage.name, **record} for record in state.history[known:])
        state = replace(state, passes=state.passes + 1, history=(*state.history[:known], *named))
        if state.passes >= stage.limit or stage.finished(state):
            state = _at_what_applies(recipe, replace(state, stage=state.stage + 1, passes=0))
        for listener in listeners:
            listener.on_pass(state, stage.name)
    return state

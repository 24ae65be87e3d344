"""The warning that only one random start came to the map that went on."""

from __future__ import annotations

from nunatak.reconstruct.state import RunState
from nunatak.runs.verdict import lone_winner


def state(first_round: dict[int, float], later: dict[int, float], shared: float = 0.2) -> RunState:
    """A race with known evidence; the start of label 0 goes on."""
    records = [
        {"restart": label, "update": 60, "log_evidence": value, "agreement": shared}
        for label, value in first_round.items()
    ]
    records += [{"restart": label, "update": 120, "log_evidence": value} for label, value in later.items()]
    return RunState(start_labels=(0,), history=tuple(records))


def test_starts_are_compared_at_equal_updates() -> None:
    """The one that goes on gains more in its later rounds, which the dropped ones never had."""
    assert lone_winner(state({0: 97.0, 1: 93.5, 2: 87.0}, {0: 123.0})) is None


def test_a_start_that_nobody_came_near_is_warned_of() -> None:
    warning = lone_winner(state({0: 122.0, 1: 103.0, 2: 90.0}, {0: 130.0, 1: 104.0}))
    assert warning is not None
    assert "one of 3" in warning


def test_starts_that_agreed_need_no_warning() -> None:
    assert lone_winner(state({0: 122.0, 1: 103.0}, {0: 130.0}, shared=0.8)) is None


def test_a_single_start_is_not_compared() -> None:
    assert lone_winner(state({0: 122.0}, {0: 130.0})) is None

"""How far a run is, read from its folder while it goes on or after: history, checkpoint, summary."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from nunatak.core.errors import InputError
from nunatak.reconstruct.stages import Plan
from nunatak.runs.execute import recipe_of
from nunatak.runs.job import read_config

RunPhase = Literal["finished", "running", "silent", "empty"]

LEAST_SILENCE_S = 180.0
"""A run that has written nothing for less than this is taken as going on."""
SILENCE_IN_PASSES = 4.0
"""So many times its longest pass without news, and a run has probably stopped."""


@dataclass(frozen=True)
class CheckpointHead:
    """What a checkpoint's index says without its tensors.

    Attributes
    ----------
    stage, passes : int
        As in RunState.
    elapsed_s : float
    saved_at_s : float
        Time of the last save, seconds since 1970.
    tensors : Path
        The safetensors file.
    tree : dict
        The packed state.
    """

    stage: int
    passes: int
    elapsed_s: float
    saved_at_s: float
    tensors: Path
    tree: dict[str, Any]


@dataclass(frozen=True)
class RunProgress:
    """Where a run stands.

    Attributes
    ----------
    phase : str
        finished, running, silent (nothing was written for long), or empty (nothing was written yet).
    stage : str or None
        Name of the stage that is being worked on.
    stages : tuple of str
        All stages of the recipe, in order.
    stage_number, passes, pass_limit : int
        Index of the stage, passes done in it, and at most.
    fraction : float
        Of the whole run's expected cost, 0 to 1.
    elapsed_s : float
        Computing time up to the last checkpoint.
    left_s : float or None
        At the pace so far; None before the first checkpoint and at the end.
    silent_s : float or None
        Since the last news.
    history : tuple of dict
        One record per pass.
    """

    phase: RunPhase
    stage: str | None
    stages: tuple[str, ...]
    stage_number: int
    passes: int
    pass_limit: int
    fraction: float
    elapsed_s: float
    left_s: float | None
    silent_s: float | None
    history: tuple[dict[str, Any], ...]


def read_history(folder: Path) -> tuple[dict[str, Any], ...]:
    """Whole lines of history.jsonl; numbers that JSON does not know become None."""
    try:
        lines = (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ()
    records = []
    for line in lines:
        try:
            record = json.loads(line, parse_constant=_no_number)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return tuple(records)


def read_summary(folder: Path) -> dict[str, Any]:
    """summary.json of a run; empty where there is none or it is broken."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"), parse_constant=_no_number)
    except (OSError, ValueError):
        return {}
    return summary if isinstance(summary, dict) else {}


def read_checkpoint_head(folder: Path) -> CheckpointHead | None:
    """The index of RUN/checkpoint; None where there is none or it is damaged."""
    index = folder / "checkpoint" / "current.json"
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        fields = content["state"]["fields"]
        return CheckpointHead(
            int(fields["stage"]["value"]),
            int(fields["passes"]["value"]),
            float(content["elapsed_s"]),
            index.stat().st_mtime,
            # Its own folder only: an index may come from somebody else.
            index.parent / Path(str(content["tensors"])).name,
            fields,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def read_progress(folder: Path, now_s: float | None = None) -> RunProgress:
    """Where the run in a folder stands.

    Parameters
    ----------
    now_s : float, optional
        Seconds since 1970; the clock's by default.
    """
    now_s = time.time() if now_s is None else now_s
    history, head = read_history(folder), read_checkpoint_head(folder)
    recipe = _recipe(folder)
    names = tuple(stage.name for stage in recipe.stages) if recipe else ()
    elapsed_s = head.elapsed_s if head else _seconds(history[-1]) if history else 0.0
    if (folder / "summary.json").exists():
        return RunProgress("finished", None, names, len(names), 0, 0, 1.0, elapsed_s, None, None, history)
    news_s = _last_news(folder)
    silent_s = None if news_s is None else max(now_s - news_s, 0.0)
    if head is None or recipe is None or head.stage >= len(recipe.stages):
        number, passes, fraction, left_s = 0, 0, 0.0, None
    else:
        number, passes = head.stage, head.passes
        fraction = _fraction_done(recipe, number, passes)
        pace_s = elapsed_s * (1 - fraction) / fraction if fraction > 0 else None
        left_s = None if pace_s is None else max(pace_s - (silent_s or 0.0), 0.0)
    stage = recipe.stages[number] if recipe else None
    return RunProgress(
        phase=_phase(history, silent_s),
        stage=stage.name if stage else None,
        stages=names,
        stage_number=number,
        passes=passes,
        pass_limit=stage.limit if stage else 0,
        fraction=fraction,
        elapsed_s=elapsed_s,
        left_s=left_s,
        silent_s=silent_s,
        history=history,
    )


def _recipe(folder: Path) -> Plan | None:
    try:
        return recipe_of(read_config(folder / "config.toml"))
    except InputError:
        return None


def _fraction_done(recipe: Plan, stage: int, passes: int) -> float:
    """As the loop counts it: expected costs of what is done over those of everything."""
    costs = [item.cost * item.limit for item in recipe.stages]
    return (sum(costs[:stage]) + recipe.stages[stage].cost * passes) / sum(costs)


def _last_news(folder: Path) -> float | None:
    """When the newest of a run's files was written, seconds since 1970."""
    found = [folder / name for name in ("checkpoint/current.json", "history.jsonl", "config.toml")]
    times = [path.stat().st_mtime for path in found if path.exists()]
    return max(times, default=None)


def _phase(history: Sequence[dict[str, Any]], silent_s: float | None) -> RunPhase:
    if silent_s is None:
        return "empty"
    times = [0.0, *map(_seconds, history)]
    longest_s = max((late - early for early, late in pairwise(times)), default=0.0)
    # Before the first pass ends, images are read and nothing is known of the pace.
    patience_s = max(LEAST_SILENCE_S, SILENCE_IN_PASSES * longest_s) if history else 1800.0
    return "running" if silent_s <= patience_s else "silent"


def _no_number(word: str) -> None:
    """NaN and Infinity, which Python writes and JSON does not know."""


def _seconds(record: dict[str, Any]) -> float:
    value = record.get("time_s")
    return float(value) if isinstance(value, int | float) else 0.0

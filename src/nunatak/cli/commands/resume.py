"""`nunatak resume`: go on with a run that was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from tyro.conf import Positional

from nunatak.cli.options import MachineOptions, parse
from nunatak.cli.results import Result
from nunatak.cli.together import is_first


class Options(MachineOptions):
    """Options of the command."""

    run: Positional[Path] = Field(description="Folder of the run.")
    device: Literal["auto", "cpu", "cuda"] | None = Field(  # type: ignore[assignment]
        None, description="Where to compute; by default where the run was told to begin."
    )
    threads: int = Field(0, ge=0, description="Threads; 0 takes as many as the run began with.")
    seed: int | None = Field(None, ge=0, description="Nothing but the run's own seed is accepted.")


def run(words: list[str]) -> Result | None:
    """Run the command; what it found, told by the first of several processes."""
    options = parse(
        Options,
        words,
        "resume",
        "Go on with a run that was stopped, to the same numbers as without the stop.",
    )
    from nunatak.cli.running import conclude
    from nunatak.cli.terminal import TerminalListener
    from nunatak.runs.execute import resume_run

    with TerminalListener() as terminal:
        given = options.threads, options.seed, options.device
        resume_run(options.run, [terminal], *given, say=terminal.say)
    return conclude(options.run) if is_first() else None

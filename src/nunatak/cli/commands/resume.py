"""`nunatak resume`: go on with a run that was stopped."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

from nunatak.cli.options import Positional, parse


class Options(BaseModel):
    """Options of the command."""

    run: Positional[Path] = Field(description="Folder of the run.")


def run(words: list[str]) -> int:
    """Run the command; its exit status."""
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
        resume_run(options.run, [terminal])
    conclude(options.run)
    return 0

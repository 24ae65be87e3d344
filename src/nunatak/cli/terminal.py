"""What a person sees while a run goes on: a bar with the time left, and a line per stage."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from nunatak.cli.together import is_first
from nunatak.reconstruct.loop import Progress as RunProgress
from nunatak.reconstruct.state import RunState


class TerminalListener:
    """A progress bar on standard error; plain lines where that is no terminal."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr)
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
        )
        shown = self._console.is_terminal and is_first()
        self._progress = Progress(*columns, console=self._console, disable=not shown)
        self._task = self._progress.add_task("reading images", total=1.0)
        self._stage = ""

    def __enter__(self) -> TerminalListener:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def say(self, sentence: str) -> None:
        """A sentence above the bar."""
        if is_first():
            self._console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def on_progress(self, progress: RunProgress) -> None:
        """Move the bar."""
        counted = (
            f"{progress.stage} {progress.passes + 1}/{progress.limit}"
            if progress.limit > 1
            else progress.stage
        )
        self._progress.update(self._task, description=counted, completed=progress.fraction)
        if progress.stage != self._stage and not self._console.is_terminal:
            print(f"{progress.stage} ({progress.fraction:.0%} done)", file=sys.stderr, flush=True)
        self._stage = progress.stage

    def on_pass(self, state: RunState, stage: str) -> None:
        """Nothing more than the bar says."""

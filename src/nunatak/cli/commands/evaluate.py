"""`nunatak evaluate`: a run against the truth of its simulation."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field
from tyro.conf import Positional

from nunatak.cli.options import CommonOptions, parse, use_machine
from nunatak.cli.results import Result


class Options(CommonOptions):
    """Options of the command."""

    run: Positional[Path] = Field(description="Folder of the run.")
    truth: Path = Field(description="Folder that `nunatak simulate` wrote.")
    volumes: Path | None = Field(
        None, description="Folder of maps vol_000123.mrc to score, one per particle index."
    )
    max_volumes: int = Field(60, ge=1, description="At most so many maps are scored.")
    near_symmetry: int = Field(
        1,
        ge=1,
        le=60,
        description="Order of a symmetry that the molecule nearly has: poses are judged modulo it, too.",
    )


def run(words: list[str]) -> Result:
    """Run the command; what it found."""
    options = parse(Options, words, "evaluate", "Compare a run with the truth of its simulation.")
    use_machine(options)
    from nunatak.metrics.evaluate import evaluate_run

    figures = evaluate_run(
        options.run, options.truth, options.volumes, options.max_volumes, options.near_symmetry
    )
    return Result(figures, [json.dumps(figures, indent=1)])

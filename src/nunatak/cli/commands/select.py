"""`nunatak select`: a subset of a run's particles as a .star file."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from tyro.conf import Positional

from nunatak.cli.options import CommonOptions, Output, parse, whole_numbers


class Options(CommonOptions):
    """Options of the command; a particle must meet all that are given."""

    run: Positional[Path] = Field(description="Folder of the run.")
    output: Output = Field(description="The .star file to write.")
    max_junk: float | None = Field(None, ge=0, le=1, description="Junk probability at most.")
    min_confidence: float | None = Field(None, ge=0, le=1, description="Pose confidence at least.")
    cluster: str | None = Field(None, description="Clusters to keep, of volumes/kmeans_labels.npy: 0,3.")
    component: int = Field(0, ge=0, description="Latent component that --above and --below speak of.")
    above: float | None = Field(None, description="That component at least.")
    below: float | None = Field(None, description="That component at most.")
    invert: bool = Field(False, description="Keep the others instead.")


def run(words: list[str]) -> int:
    """Run the command; its exit status."""
    options = parse(Options, words, "select", "Write a subset of a run's particles.")
    from nunatak.runs.select import Selection, write_selection

    selection = Selection(
        options.max_junk,
        options.min_confidence,
        None if options.cluster is None else whole_numbers(options.cluster, "--cluster"),
        options.component,
        options.above,
        options.below,
        options.invert,
    )
    kept, total = write_selection(options.run, options.output, selection)
    print(f"{kept:,} of {total:,} particles in {options.output}")
    return 0

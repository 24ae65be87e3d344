"""`nunatak inspect`: what a particle file was understood to say."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from tyro.conf import Positional

from nunatak.cli.options import CommonOptions, fields_of, parse, use_machine
from nunatak.cli.results import Result
from nunatak.runs.job import InputConfig


class Options(CommonOptions, InputConfig):
    """Options of the command."""

    particles: Positional[Path] = Field(description="A .star, .cs, .mrcs, .mrc, or a .txt list of stacks.")


def run(words: list[str]) -> Result:
    """Run the command; what it found."""
    options = parse(Options, words, "inspect", "Say what a particle file was understood to say.")
    use_machine(options)
    from nunatak.particles.inspect import describe, inspect_particles
    from nunatak.runs.execute import read_input

    found = inspect_particles(
        read_input(fields_of(options, InputConfig), require_images=False), seed=options.seed
    )
    return Result(found.to_dict(), describe(found))

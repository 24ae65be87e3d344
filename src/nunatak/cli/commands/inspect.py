"""`nunatak inspect`: what a particle file was understood to say."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field

from nunatak.cli.options import Positional, fields_of, parse
from nunatak.runs.job import InputConfig


class Options(InputConfig):
    """Options of the command."""

    particles: Positional[Path] = Field(description="A .star, .cs, .mrcs, .mrc, or a .txt list of stacks.")
    json_output: bool = Field(False, description="Print one JSON object instead of sentences.")


def run(words: list[str]) -> int:
    """Run the command; its exit status."""
    options = parse(Options, words, "inspect", "Say what a particle file was understood to say.")
    from nunatak.particles.inspect import describe, inspect_particles
    from nunatak.runs.execute import read_input

    found = inspect_particles(read_input(fields_of(options, InputConfig), require_images=False))
    if options.json_output:
        print(json.dumps(found.to_dict(), indent=1))
    else:
        print("\n".join(describe(found)))
    return 0

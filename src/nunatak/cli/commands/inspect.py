"""`nunatak inspect`: what a particle file was understood to say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field
from tyro.conf import Positional

from nunatak.cli.options import CommonOptions, fields_of, parse, use_machine
from nunatak.runs.job import InputConfig


class Options(CommonOptions, InputConfig):
    """Options of the command."""

    particles: Positional[Path] = Field(description="A .star, .cs, .mrcs, .mrc, or a .txt list of stacks.")
    json_output: Annotated[bool, tyro.conf.arg(aliases=["--json"])] = Field(
        False, description="Print one JSON object instead of sentences."
    )


def run(words: list[str]) -> int:
    """Run the command; its exit status."""
    options = parse(Options, words, "inspect", "Say what a particle file was understood to say.")
    use_machine(options)
    from nunatak.particles.inspect import describe, inspect_particles
    from nunatak.runs.execute import read_input

    found = inspect_particles(
        read_input(fields_of(options, InputConfig), require_images=False), seed=options.seed
    )
    if options.json_output:
        print(json.dumps(found.to_dict(), indent=1))
    else:
        print("\n".join(describe(found)))
    return 0

"""`nunatak embed`: orient and embed particles that were not in a run."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field
from tyro.conf import Positional

from nunatak.cli.options import CommonOptions, Output, fields_of, parse
from nunatak.cli.results import Result
from nunatak.runs.job import InputConfig


class FinishedRun(BaseModel):
    """The run: a base of its own, so that it is the first of the two places."""

    run: Positional[Path] = Field(description="Folder of a finished run, whose model is used.")


class Options(CommonOptions, InputConfig, FinishedRun):
    """Options of the command."""

    particles: Positional[Path] = Field(description="A .star, .cs, .mrcs, .mrc, or a .txt list of stacks.")
    output: Output = Field(description="Folder for the particles with their poses and latents.")


def run(words: list[str]) -> Result:
    """Run the command; what it found."""
    options = parse(Options, words, "embed", "Orient and embed new particles with a finished run's model.")
    from nunatak.runs.embed import embed_particles

    machine = options.device, options.threads
    told = embed_particles(options.run, fields_of(options, InputConfig), options.output, machine)
    sentence = (
        f"{told['particles']} particles were oriented and embedded in {told['latent_dim']} dimensions; "
        f"median pose confidence {told['median_confidence']}, junk expected {told['junk_expected']}."
    )
    return Result({**told, "output": options.output}, [sentence, *told["warnings"]])

"""`nunatak simulate`: particle images with known truth."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import Field

from nunatak.cli.options import Positional, parse
from nunatak.simulate.config import SimulationConfig


class Options(SimulationConfig):
    """Options of the command."""

    out: Positional[Path] = Field(description="Folder to write.")


def run(words: list[str]) -> int:
    """Run the command; its exit status."""
    options = parse(Options, words, "simulate", "Simulate particle images that carry their truth.")
    from nunatak.simulate.write import write_simulation

    config = SimulationConfig(**options.model_dump(exclude={"out"}))
    truth = write_simulation(options.out, config)
    print(f"{config.particles:,} images of {len(truth.volumes)} states in {options.out}", file=sys.stdout)
    return 0

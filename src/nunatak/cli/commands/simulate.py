"""`nunatak simulate`: particle images with known truth."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from tyro.conf import Positional

from nunatak.cli.options import MachineOptions, fields_of, parse, use_machine
from nunatak.simulate.config import SimulationConfig


class Options(MachineOptions, SimulationConfig):
    """Options of the command."""

    out: Positional[Path] = Field(description="Folder to write.")


def run(words: list[str]) -> int:
    """Run the command; its exit status."""
    options = parse(Options, words, "simulate", "Simulate particle images that carry their truth.")
    use_machine(options)
    from nunatak.simulate.write import write_simulation

    config = fields_of(options, SimulationConfig)
    truth = write_simulation(options.out, config)
    print(f"{config.particles:,} images of {len(truth.volumes)} states in {options.out}")
    return 0

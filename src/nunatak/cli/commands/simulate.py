"""`nunatak simulate`: particle images with known truth."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from tyro.conf import Positional

from nunatak.cli.options import MachineOptions, fields_of, parse, use_machine
from nunatak.cli.results import Result
from nunatak.simulate.config import SimulationConfig


class Options(MachineOptions, SimulationConfig):
    """Options of the command."""

    out: Positional[Path] = Field(description="Folder to write.")


def run(words: list[str]) -> Result:
    """Run the command; what it found."""
    options = parse(Options, words, "simulate", "Simulate particle images that carry their truth.")
    use_machine(options)
    from nunatak.simulate.write import write_simulation

    config = fields_of(options, SimulationConfig)
    truth = write_simulation(options.out, config)
    content = {
        "folder": options.out,
        "particles": config.particles,
        "states": len(truth.volumes),
        "box_px": truth.box_px,
        "pixel_size_A": truth.pixel_size_A,
        "files": {name: options.out / f"{name}.star" for name in ("particles", "truth")},
    }
    said = f"{config.particles:,} images of {len(truth.volumes)} states in {options.out}"
    return Result(content, [said])

"""`nunatak volumes`: maps at latent positions of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field
from tyro.conf import Positional

from nunatak.cli.options import CommonOptions, Output, parse, use_machine, whole_numbers
from nunatak.cli.results import Result
from nunatak.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Options(CommonOptions):
    """Options of the command: exactly one of the ways to say where."""

    run: Positional[Path] = Field(description="Folder of the run.")
    output: Output = Field(description="Folder for the maps.")
    at_particles: str | None = Field(None, description="0-based particle indices: 0,57,99.")
    at_latents: Path | None = Field(None, description="A (k, q) .npy of latent positions.")
    kmeans: int | None = Field(
        None, ge=1, description="As many maps, at the particles nearest to k-means centres."
    )
    path: int | None = Field(None, ge=0, description="Maps along this latent component, from 0.")
    steps: int = Field(10, ge=2, description="Maps along a path.")
    halves: bool = Field(False, description="Half-maps too, and the resolution that they agree to.")


def run(words: list[str]) -> Result:
    """Run the command; what it found."""
    options = parse(Options, words, "volumes", "Write maps at latent positions of a finished run.")
    ways = [options.at_particles, options.at_latents, options.kmeans, options.path]
    if sum(way is not None for way in ways) != 1:
        raise InputError("Say where in exactly one way: --at-particles, --at-latents, --kmeans or --path.")
    use_machine(options)
    from nunatak.runs import volumes

    run_dir, out, halves = options.run, options.output, options.halves
    if options.at_particles is not None:
        rows = whole_numbers(options.at_particles, "--at-particles")
        written = volumes.write_volumes_at_particles(run_dir, out, rows, halves)
    elif options.at_latents is not None:
        written = volumes.write_volumes_at_latents(run_dir, out, _positions(options.at_latents), halves)
    elif options.kmeans is not None:
        written = volumes.write_volumes_at_clusters(run_dir, out, options.kmeans, options.seed, halves)
    else:
        written = volumes.write_path(run_dir, out, options.path or 0, options.steps, halves)
    return Result({"folder": options.output, "maps": written}, [f"{len(written)} maps in {options.output}"])


def _positions(path: Path) -> NDArray:
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is not a .npy array of numbers ({error}).") from error

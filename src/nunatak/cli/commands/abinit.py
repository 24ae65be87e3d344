"""`nunatak abinit`: poses, latents and volumes from nothing: the main job."""

from __future__ import annotations

from nunatak.cli.results import Result
from nunatak.cli.running import run_job


def run(words: list[str]) -> Result:
    """Run the command; what it found."""
    return run_job(words, "abinit", "Poses, latents and volumes from nothing: the main job.")

"""`nunatak heterogeneity`: latents and volumes from particles whose poses are given."""

from __future__ import annotations

from nunatak.cli.results import Result
from nunatak.cli.running import run_job


def run(words: list[str]) -> Result | None:
    """Run the command; what it found, told by the first of several processes."""
    return run_job(words, "heterogeneity", "Latents and volumes from particles whose poses are given.")

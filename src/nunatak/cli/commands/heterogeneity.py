"""`nunatak heterogeneity`: latents and volumes from particles whose poses are given."""

from __future__ import annotations

from nunatak.cli.results import Result
from nunatak.cli.running import run_job


def run(words: list[str]) -> Result:
    """Run the command; what it found."""
    return run_job(words, "heterogeneity", "Latents and volumes from particles whose poses are given.")

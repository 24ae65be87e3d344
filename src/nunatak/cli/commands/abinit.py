"""`nunatak abinit`: poses, latents and volumes from nothing: the main job."""

from __future__ import annotations

from nunatak.cli.running import run_job


def run(words: list[str]) -> int:
    """Run the command; its exit status."""
    return run_job(words, "abinit", "Poses, latents and volumes from nothing: the main job.")

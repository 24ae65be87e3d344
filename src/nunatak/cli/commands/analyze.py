"""`nunatak analyze`: clusters, representative maps, a path along each component, and the report."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from tyro.conf import Positional

from nunatak.cli.options import CommonOptions, parse, use_machine


class Options(CommonOptions):
    """Options of the command."""

    run: Positional[Path] = Field(description="Folder of the run.")
    kmeans: int = Field(8, ge=1, description="Clusters, each with a representative map.")
    steps: int = Field(7, ge=2, description="Maps along the first latent component.")
    truth: Path | None = Field(None, description="Folder of the simulation's truth, to add its figures.")


def run(words: list[str]) -> int:
    """Run the command; its exit status."""
    options = parse(
        Options, words, "analyze", "Cluster the latents, write representative maps and the report."
    )
    use_machine(options)
    from nunatak.cli.running import conclude
    from nunatak.runs import volumes
    from nunatak.runs.truth import add_truth

    model = volumes.LatentVolumes(options.run)
    folder = options.run / "volumes"
    if model.latent_dim:
        volumes.write_volumes_at_clusters(
            options.run, folder, min(options.kmeans, len(model.latents)), options.seed
        )
        volumes.write_path(options.run, folder, 0, options.steps)
    if options.truth is not None:
        add_truth(options.run, options.truth)
    conclude(options.run)
    return 0

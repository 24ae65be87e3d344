"""`nunatak analyze`: landscape, clusters, paths with their support, free energies, the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field
from tyro.conf import Positional

from nunatak.cli.options import MachineOptions, fields_of, parse, use_machine
from nunatak.cli.results import Result, say
from nunatak.runs.analysis_config import AnalysisConfig


class Options(MachineOptions, AnalysisConfig):
    """Options of the command."""

    run: Positional[Path] = Field(description="Folder of the run.")
    truth: Path | None = Field(None, description="Folder of the simulation's truth, to add its figures.")


def run(words: list[str]) -> Result:
    """Run the command; what it found."""
    options = parse(
        Options, words, "analyze", "Understand the landscape of a finished run, and write the report."
    )
    use_machine(options)
    from nunatak.cli.running import conclude
    from nunatak.runs.analyze import analyze_run
    from nunatak.runs.truth import add_truth
    from nunatak.runs.volumes import LatentVolumes

    found: dict[str, Any] = {}
    if LatentVolumes(options.run).latent_dim:
        found = analyze_run(options.run, fields_of(options, AnalysisConfig), say)
    if options.truth is not None:
        add_truth(options.run, options.truth)
    concluded = conclude(options.run)
    sentences = [*concluded.sentences, *_told(found), *(f"warning: {w}" for w in found.get("warnings", []))]
    return Result({**concluded.content, "analysis": found or None}, sentences)


def _told(found: dict[str, Any]) -> list[str]:
    """The landscape in a few lines."""
    if not found:
        return ["homogeneous run: there are no latents to analyse"]
    components, mixture = found["components"], found["mixture"]
    lines = [
        f"{components['informed']} of {found['latent_dim']} components carry more than noise; "
        f"{mixture['clusters']} Gaussian clusters"
    ]
    for path in found["paths"]:
        lines.append(
            f"path {path['name']}: support at least {path['least_support']:.2g}, "
            f"barrier {path['barrier_kT']:.1f} kT"
        )
    for one in found["associations"]:
        if one["kind"] == "classes":
            lines.append(
                f"{one['name']}: ARI {one['ari']:.2f}, AMI {one['ami']:.2f}, neighbours {one['knn']:.2f}"
            )
        else:
            lines.append(f"{one['name']}: correlation {one['correlation']:.2f}, neighbours {one['knn']:.2f}")
    return lines + found["notes"]

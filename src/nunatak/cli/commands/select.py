"""`nunatak select`: a subset of a run's particles as .star or .cs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from pydantic import Field
from tyro.conf import Positional

from nunatak.cli.options import CommonOptions, Output, parse, whole_numbers
from nunatak.cli.results import Result
from nunatak.core.errors import require
from nunatak.runs.analysis_config import PathName


class Options(CommonOptions):
    """Options of the command; a particle must meet all that are given."""

    run: Positional[Path] = Field(description="Folder of the run.")
    output: Output = Field(description="The .star or .cs file to write; .cs where the run's input was one.")
    max_junk: float | None = Field(None, ge=0, le=1, description="Junk probability at most.")
    min_confidence: float | None = Field(None, ge=0, le=1, description="Pose confidence at least.")
    cluster: str | None = Field(None, description="Clusters of `nunatak analyze` to keep: 0,3.")
    clustering: Literal["kmeans", "mixture"] = Field("kmeans", description="Whose clusters --cluster means.")
    class_number: str | None = Field(None, description="rlnClassNumber to keep: 1,3.")
    component: int = Field(0, ge=0, description="Latent component that --above and --below speak of.")
    above: float | None = Field(None, description="That component at least.")
    below: float | None = Field(None, description="That component at most.")
    region: str | None = Field(
        None, description="Bounds of latent components COMPONENT:LOW:HIGH,...: 0:-1:0.5,2::1."
    )
    lasso: Path | None = Field(
        None,
        description="JSON polygon in the latents, components or UMAP: "
        '{"space": "umap", "axes": [0, 1], "polygon": [[x, y], ...]}.',
    )
    path: PathName = Field("dominant", description="Path that the two options that follow speak of.")
    max_path_distance: float | None = Field(
        None, ge=0, description="Distance from the path at most, in units of the latents' noise."
    )
    path_range: tuple[float, float] | None = Field(
        None, description="Part of the path, from 0 at its beginning to 1 at its end."
    )
    rows: Path | None = Field(
        None, description=".npy of 0-based rows to keep, such as RUN/selections/NAME.npy of the dashboard."
    )
    indices: Path | None = Field(None, description="Also write the 0-based rows as this .npy.")
    invert: bool = Field(False, description="Keep the others instead.")


def run(words: list[str]) -> Result:
    """Run the command; what it found."""
    options = parse(Options, words, "select", "Write a subset of a run's particles.")
    from nunatak.runs.select import Selection, parse_region, write_selection

    low = -math.inf if options.above is None else options.above
    high = math.inf if options.below is None else options.below
    bounds = () if options.above is None and options.below is None else ((options.component, low, high),)
    if options.path_range is not None:
        require(
            0 <= options.path_range[0] <= options.path_range[1] <= 1,
            "--path-range expects two numbers between 0 and 1, the smaller first.",
        )
    selection = Selection(
        max_junk=options.max_junk,
        min_confidence=options.min_confidence,
        clusters=None if options.cluster is None else whole_numbers(options.cluster, "--cluster"),
        clustering=options.clustering,
        classes=None
        if options.class_number is None
        else whole_numbers(options.class_number, "--class-number"),
        region=bounds + (() if options.region is None else parse_region(options.region)),
        lasso=options.lasso,
        path=options.path,
        max_path_distance=options.max_path_distance,
        path_range=options.path_range,
        rows=options.rows,
        inverted=options.invert,
    )
    kept, total, files = write_selection(options.run, options.output, selection, options.indices)
    content = {"selected": kept, "particles": total, "file": options.output, "files": files}
    return Result(content, [f"{kept:,} of {total:,} particles in {', '.join(map(str, files))}"])

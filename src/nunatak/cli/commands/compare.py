"""`nunatak compare`: recipes beside each other on one particle set with a known truth."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field
from tyro.conf import Positional

from nunatak.cli.options import CommonOptions, Output, parse
from nunatak.cli.results import Result
from nunatak.core.errors import InputError, require

if TYPE_CHECKING:
    from nunatak.metrics.comparison import Row


class Options(CommonOptions):
    """Options of the command."""

    particles: Positional[Path] = Field(description="Particle file without poses.")
    truth: Path = Field(description="Folder that `nunatak simulate` wrote.")
    recipes: str = Field(description="Names of recipes separated by commas; `nunatak recipes` lists them.")
    output: Output = Field(Path("compare"), description="Folder for the runs and the table.")
    posed: Path | None = Field(
        None, description="The same rows with poses, for recipes that take them; TRUTH/truth.star by default."
    )
    latent_dim: int = Field(
        4, ge=0, le=16, description="Dimensions of the latent, for recipes that have one."
    )
    options: str = Field("", description="Further options of every run, as one text: --options='--l-end 15'.")
    volumes: int = Field(20, ge=1, description="Particles whose maps are scored against the truth.")
    originals: Path | None = Field(
        None, description="CSV with the figures of other programs: column recipe, and those of compare.csv."
    )


def run(words: list[str]) -> Result:
    """Run the command; what it found."""
    about = "Run recipes on one particle set with a known truth, and compare them in a table."
    options = parse(Options, words, "compare", about)
    from nunatak.export.comparison import comparison_figure
    from nunatak.io.atomic import atomic_path, write_text
    from nunatak.metrics.comparison import csv_table, markdown_table, rows_from_csv
    from nunatak.particles.reading import read_particles
    from nunatak.particles.truth import read_truth
    from nunatak.runs.compare import (
        Comparison,
        compare_recipes,
        defaults_for,
        recipes_named,
        require_posed,
    )

    recipes = recipes_named([name.strip() for name in options.recipes.split(",") if name.strip()])
    others = (
        [] if options.originals is None else rows_from_csv(_read(options.originals), str(options.originals))
    )
    beside = options.truth / "truth.star"
    posed = options.posed or (beside if beside.exists() else None)
    comparison = Comparison(
        options.particles,
        posed,
        options.truth,
        options.latent_dim,
        _shared_options(options),
        options.volumes,
    )
    require_posed(comparison, recipes)
    particles, truth = read_particles(options.particles), read_truth(options.truth)
    require(
        len(particles) == len(truth),
        f"{options.particles} holds {len(particles)} particles, but the truth has {len(truth)}: give the "
        "truth of these particles.",
    )
    table = options.output / "compare.csv"
    done = _done(table)
    _require_more({recipe.name for recipe in recipes}, {row.name for row in done}, options.output)
    options.output.mkdir(parents=True, exist_ok=True)
    _keep_settings(options, bool(done))
    extra = defaults_for(particles, comparison.options)
    rows = done
    for rows in compare_recipes(recipes, comparison, options.output, extra, done, _say):
        write_text(table, csv_table(rows))
    rows = [*rows, *others]
    write_text(table, csv_table(rows))
    write_text(options.output / "compare.md", markdown_table(rows))
    with atomic_path(options.output / "compare.svg") as path:
        comparison_figure(rows, len(recipes)).savefig(path, format="svg")
    told = [{"recipe": row.name, **row.figures, "remark": row.remark} for row in rows]
    files = [table, options.output / "compare.md", options.output / "compare.svg"]
    return Result({"rows": told, "files": files}, markdown_table(rows).splitlines())


def _done(table: Path) -> list[Row]:
    """Rows of recipes that an earlier comparison has finished; what failed is tried again."""
    from nunatak.metrics.comparison import rows_from_csv
    from nunatak.reconstruct.recipes import RECIPES

    own = {recipe.name for recipe in RECIPES}
    held = rows_from_csv(_read(table), str(table)) if table.exists() else []
    return [row for row in held if row.name in own and row.figures]


def _require_more(names: set[str], there: set[str], folder: Path) -> None:
    require(
        there < names,
        f"{folder} already holds a comparison of {', '.join(sorted(there))}: choose another folder, "
        "or name these and more.",
    )


def _keep_settings(options: Options, begun: bool) -> None:
    """Write what the runs of a comparison share; one that has rows is not gone on with by other settings."""
    from nunatak.io.atomic import write_json

    path = options.output / "compare.json"
    asked = {
        "particles": str(options.particles.absolute()),
        "truth": str(options.truth.absolute()),
        "latent_dim": options.latent_dim,
        "seed": options.seed,
        "options": options.options,
        "volumes": options.volumes,
    }
    try:
        held = json.loads(_read(path)) if begun and path.exists() else asked
    except ValueError as error:
        raise InputError(f"{path} is no JSON object: choose another folder.") from error
    others = [f"{name} {held.get(name)!r}" for name, value in asked.items() if held.get(name) != value]
    require(
        not others,
        f"{options.output} holds a comparison with {', '.join(others)}: give the same again, or choose "
        "another folder.",
    )
    write_json(path, asked)


def _shared_options(options: Options) -> tuple[str, ...]:
    machine = ["--device", options.device, "--threads", str(options.threads), "--seed", str(options.seed)]
    return (*machine, *shlex.split(options.options))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): a CSV table was expected.") from error


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)

"""Recipes beside each other on one particle set: a run of each in a process of its own, and its figures.

A process of its own, so that peak memory is the recipe's and not that of the largest before it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nunatak.core.errors import NunatakError, require
from nunatak.metrics.comparison import Row, row_of
from nunatak.particles.dataset import Particles
from nunatak.particles.truth import read_truth
from nunatak.reconstruct.recipes import RECIPES
from nunatak.reconstruct.stages import PoseSource, Recipe
from nunatak.runs.truth import add_truth
from nunatak.runs.volumes import write_volumes_at_particles


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes
    ----------
    particles : Path
        The input of recipes that find poses.
    posed : Path or None
        The same rows with poses, for recipes that take them.
    truth : Path
        Folder that `nunatak simulate` wrote.
    latent_dim : int
        Of every recipe that has latents.
    options : tuple of str
        Further options of every run.
    volumes : int
        Particles, spread over the set, whose maps are scored.
    """

    particles: Path
    posed: Path | None
    truth: Path
    latent_dim: int = 4
    options: tuple[str, ...] = ()
    volumes: int = 20


def recipes_named(names: Sequence[str]) -> list[Recipe]:
    """The recipes of some names, in order.

    Raises
    ------
    InputError
        A name is unknown, given twice, or there is none.
    """
    known = {recipe.name: recipe for recipe in RECIPES}
    require(
        bool(names), "--recipes is empty: give names separated by commas, as `nunatak recipes` lists them."
    )
    for name in names:
        require(name in known, f"There is no recipe '{name}'; expected some of: {', '.join(known)}.")
    require(len(set(names)) == len(names), "--recipes names a recipe twice: give each once.")
    return [known[name] for name in names]


def require_posed(comparison: Comparison, recipes: Sequence[Recipe]) -> None:
    """Raise InputError where a recipe takes poses and there is no file that has them."""
    takers = [recipe.name for recipe in recipes if recipe.poses is PoseSource.GIVEN]
    require(
        not takers or comparison.posed is not None,
        f"The recipe '{''.join(takers[:1])}' takes poses: give a particle file of the same rows that has "
        "them by --posed.",
    )


def defaults_for(particles: Particles, options: Sequence[str]) -> list[str]:
    """Options that every recipe can work with on a set: searches end at Nyquist where l_end lies beyond."""
    given = any(word.split("=")[0] == "--l-end" for word in options)
    nyquist = particles.box_px // 2
    return [] if given or nyquist >= 32 else ["--l-end", str(nyquist), "--l-start", str(min(12, nyquist))]


def words_of(recipe: Recipe, comparison: Comparison, out: Path) -> list[str]:
    """The command of one recipe's run, as it is typed after `nunatak`."""
    given = recipe.poses is PoseSource.GIVEN
    source = comparison.posed if given and comparison.posed is not None else comparison.particles
    latents = 0 if recipe.rigid else comparison.latent_dim
    return [
        *("heterogeneity" if given else "abinit", str(source), "-o", str(out)),
        *("--recipe", recipe.name, "--latent-dim", str(latents)),
    ]


def run_recipe(recipe: Recipe, comparison: Comparison, out: Path, extra: Sequence[str]) -> Row:
    """Run one recipe into a folder and score it; a run that fails is a row with its sentence.

    A run that was stopped there goes on.
    """
    words = [*words_of(recipe, comparison, out), *extra, *comparison.options]
    if (out / "checkpoint").exists():
        words = ["resume", str(out)]
    command = [sys.executable, "-m", "nunatak", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return Row(recipe.name, remark=f"failed: {said[-1] if said else 'no message'}")
    try:
        return _scored(recipe.name, comparison, out)
    except NunatakError as error:
        return Row(recipe.name, remark=f"not scored: {error}")


def _scored(name: str, comparison: Comparison, out: Path) -> Row:
    count = len(read_truth(comparison.truth))
    chosen = np.unique(np.linspace(0, count - 1, comparison.volumes).round().astype(int))
    write_volumes_at_particles(out, out / "volumes", [int(row) for row in chosen])
    figures = add_truth(out, comparison.truth)
    summary = json.loads((out / "summary.json").read_text())
    outcome = str(summary.get("outcome", ""))
    return row_of(name, summary, figures, remark=outcome if outcome == "no structure found" else "")


def compare_recipes(
    recipes: Sequence[Recipe],
    comparison: Comparison,
    out: Path,
    extra: Sequence[str],
    done: Sequence[Row] = (),
    told: Callable[[str], None] = lambda sentence: None,
) -> Iterator[list[Row]]:
    """Rows of all recipes so far, in order, after each: hours of runs are not lost with the last of them.

    Parameters
    ----------
    out : Path
        Each recipe runs in `out`/NAME.
    done : sequence of Row
        Of recipes that an earlier comparison into the same folder has finished.
    """
    finished = {row.name: row for row in done}
    for recipe in recipes:
        if recipe.name not in finished:
            told(f"running {recipe.name} ...")
            finished[recipe.name] = run_recipe(recipe, comparison, out / recipe.name, extra)
        yield [finished[other.name] for other in recipes if other.name in finished]

"""`nunatak recipes`: the named methods, a line each."""

from __future__ import annotations

from nunatak.cli.options import CommonOptions, parse
from nunatak.cli.results import Result


class Options(CommonOptions):
    """No options but those of every command."""


def run(words: list[str]) -> Result:
    """Run the command; what it found."""
    parse(Options, words, "recipes", "List the recipes.")
    from nunatak.reconstruct.config import EngineConfig
    from nunatak.reconstruct.recipes import RECIPES

    told = [
        {
            "name": recipe.name,
            "summary": recipe.summary,
            "poses": recipe.poses.value,
            "stages": [stage.name for stage in recipe.plan(EngineConfig()).stages],
        }
        for recipe in RECIPES
    ]
    lines = [f"{recipe.name:<18}poses {recipe.poses.value:<7}{recipe.summary}" for recipe in RECIPES]
    return Result({"recipes": told}, lines)

"""`nunatak recipes`: the recipes that abinit knows, a line each."""

from __future__ import annotations

from nunatak.cli.options import CommonOptions, parse
from nunatak.cli.results import Result


class Options(CommonOptions):
    """No options but those of every command."""


def run(words: list[str]) -> Result:
    """Run the command; what it found."""
    parse(Options, words, "recipes", "List the recipes.")
    from nunatak.reconstruct.config import EngineConfig
    from nunatak.reconstruct.recipes import ab_initio

    recipe = ab_initio(EngineConfig())
    told = [{"name": recipe.name, "summary": recipe.summary}]
    return Result({"recipes": told}, [f"{recipe.name:<14}{recipe.summary}"])

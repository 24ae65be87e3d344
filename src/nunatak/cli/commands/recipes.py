"""`nunatak recipes`: the recipes that abinit knows, a line each."""

from __future__ import annotations

from nunatak.cli.options import CommonOptions, parse


class Options(CommonOptions):
    """No options but those of every command."""


def run(words: list[str]) -> int:
    """Run the command; its exit status."""
    parse(Options, words, "recipes", "List the recipes.")
    from nunatak.reconstruct.config import EngineConfig
    from nunatak.reconstruct.recipes import ab_initio

    recipe = ab_initio(EngineConfig())
    print(f"{recipe.name:<14}{recipe.summary}")
    return 0

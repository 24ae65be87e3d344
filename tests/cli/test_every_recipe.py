"""Every recipe, run whole by the command line on one set of a molecule that swings, against bars of its own.

The table of docs/methods.md is of the same set and options.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from _commands import succeed

from nunatak.particles.reading import read_particles
from nunatak.reconstruct.recipes import RECIPES
from nunatak.runs.compare import Comparison, defaults_for, recipes_named, run_recipe

SET = "--particles 1500 --box-px 32 --snr 0.7 --motion hinge --states 20 --hinge-degrees 45"


@dataclass(frozen=True)
class Bar:
    """What a recipe must reach; None where it does not give that.

    Attributes
    ----------
    within_state_deg : float or None
        At most so much median error of poses that are found.
    latent_score : float or None
        At least.
    area : float
        Per-image FSC area, of 0.5 at most; at least.
    """

    within_state_deg: float | None
    latent_score: float | None
    area: float


BARS = {
    "nunatak": Bar(3.0, 0.9, 0.36),
}


def test_every_recipe_has_a_bar() -> None:
    assert set(BARS) == {recipe.name for recipe in RECIPES}


@pytest.fixture(scope="module")
def swinging(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("swinging")
    succeed("simulate", folder, *SET.split(), "--threads", 1)
    return Comparison(folder / "particles.star", folder / "truth.star", folder, 2, ("--threads", "1"))


@pytest.mark.truth
@pytest.mark.parametrize("name", BARS)
def test_a_recipe_reaches_its_bar(name: str, swinging: Comparison, tmp_path: Path) -> None:
    (recipe,), bar = recipes_named([name]), BARS[name]
    extra = defaults_for(read_particles(swinging.particles), swinging.options)
    row = run_recipe(recipe, swinging, tmp_path / "run", extra)
    assert row.remark == ""
    if bar.within_state_deg is not None:
        assert row.figures["rot_within_state_median_deg"] < bar.within_state_deg
    if bar.latent_score is not None:
        assert row.figures["latent_knn"] > bar.latent_score
    assert row.figures["per_image_fsc_auc"] > bar.area

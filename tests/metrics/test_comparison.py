"""The comparison table: figures picked from a run, the best in bold, and rows of other programs."""

from __future__ import annotations

import pytest

from nunatak.core.errors import InputError
from nunatak.metrics.comparison import COLUMNS, Row, csv_table, markdown_table, row_of, rows_from_csv

OWN = row_of("nunatak", {"wall_s": 12.4, "peak_memory_MB": 900}, {"rot_median_deg": 1.25, "latent_knn": 0.9})
OTHER = Row("original", {"rot_median_deg": 3.5, "latent_knn": 0.95, "wall_s": 600.0}, "run elsewhere")


def test_a_row_takes_the_known_figures_only() -> None:
    row = row_of("a", {"wall_s": float("nan"), "recipe": "a", "outcome": True}, {"shift_median_A": 2})
    assert row.figures == {"shift_median_A": 2.0}


def test_the_best_of_each_column_is_bold() -> None:
    lines = markdown_table([OWN, OTHER]).splitlines()
    assert lines[0].startswith("| recipe | pose error, deg | latent score | wall time, s |")
    assert lines[2] == "| nunatak | **1.25** | 0.900 | **12** | 900 |"
    assert lines[3] == "| original | 3.50 | **0.950** | 600 | - |"
    assert lines[-1] == "- original: run elsewhere"


def test_the_csv_is_read_back() -> None:
    assert rows_from_csv(csv_table([OWN, OTHER]), "it") == [OWN, OTHER]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,wall_s\na,1\n", "no column 'recipe'"),
        ("recipe,speed\na,1\n", "unknown column 'speed'"),
        ("recipe,wall_s\na,fast\n", "line 2: wall_s is 'fast', not a number"),
    ],
)
def test_a_wrong_table_gets_a_sentence(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        rows_from_csv(text, "table.csv")


def test_every_column_has_a_key_of_its_own() -> None:
    assert len({column.key for column in COLUMNS}) == len(COLUMNS) == 8

"""The table that compares recipes: which figures, in which direction they are better, and rows of others."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nunatak.core.errors import require

NAME = "recipe"


@dataclass(frozen=True)
class Column:
    """One figure of the table.

    Attributes
    ----------
    key : str
        As `nunatak evaluate` or summary.json names it.
    title : str
    digits : int
    lower_is_better : bool
    """

    key: str
    title: str
    digits: int
    lower_is_better: bool


COLUMNS = (
    Column("rot_median_deg", "pose error, deg", 2, True),
    Column("rot_within_state_median_deg", "within a state, deg", 2, True),
    Column("shift_median_A", "shift error, A", 2, True),
    Column("latent_knn", "latent score", 3, False),
    Column("per_image_fsc_auc", "per-image FSC area", 3, False),
    Column("mean_fsc05_A", "mean map, A", 1, True),
    Column("wall_s", "wall time, s", 0, True),
    Column("peak_memory_MB", "peak memory, MB", 0, True),
)


@dataclass(frozen=True)
class Row:
    """One method's figures; what is not known is left out.

    Attributes
    ----------
    name : str
    figures : mapping of str to float
        By the columns' keys.
    remark : str
        Why there are none, or where they come from.
    """

    name: str
    figures: Mapping[str, float] = field(default_factory=dict)
    remark: str = ""


def row_of(name: str, *sources: Mapping[str, object], remark: str = "") -> Row:
    """A row with those figures that the sources have as finite numbers."""
    figures: dict[str, float] = {}
    for column in COLUMNS:
        for source in sources:
            value = source.get(column.key)
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                figures[column.key] = float(value)
    return Row(name, figures, remark)


def rows_from_csv(text: str, where: str) -> list[Row]:
    """Rows of methods that were run elsewhere, from a table with the columns' keys; blanks are unknown.

    Raises
    ------
    InputError
        There is no column `recipe`, a column is unknown, or a figure is not a number.
    """
    reader = csv.DictReader(io.StringIO(text))
    names = reader.fieldnames or []
    known = [NAME, "remark", *(column.key for column in COLUMNS)]
    unknown = [name for name in names if name not in known]
    require(NAME in names, f"{where} has no column '{NAME}': it names the method of each row.")
    require(
        not unknown, f"{where} has an unknown column '{''.join(unknown[:1])}'; known: {', '.join(known)}."
    )
    rows = []
    for number, line in enumerate(reader, 2):
        figures = {}
        for key in known[2:]:
            text_value = (line.get(key) or "").strip()
            if text_value:
                require(
                    _is_number(text_value), f"{where}, line {number}: {key} is '{text_value}', not a number."
                )
                figures[key] = float(text_value)
        rows.append(Row(line[NAME], figures, (line.get("remark") or "").strip()))
    return rows


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def shown(row: Row, column: Column) -> str:
    """A figure as the table shows it; a dash where it is unknown."""
    value = row.figures.get(column.key)
    return "-" if value is None else f"{value:.{column.digits}f}"


def best_of_column(rows: Sequence[Row], column: Column) -> str | None:
    """How the best figure of a column is shown; None where fewer than two rows have one."""
    values = [row.figures[column.key] for row in rows if column.key in row.figures]
    if len(values) < 2:
        return None
    best = min(values) if column.lower_is_better else max(values)
    return f"{best:.{column.digits}f}"


def markdown_table(rows: Sequence[Row]) -> str:
    """The table as Markdown, the best of each column in bold; remarks below it."""
    used = [c for c in COLUMNS if any(c.key in row.figures for row in rows)]
    lines = [
        "| recipe | " + " | ".join(column.title for column in used) + " |",
        "|---|" + "---:|" * len(used),
    ]
    best = {column.key: best_of_column(rows, column) for column in used}
    for row in rows:
        cells = [shown(row, column) for column in used]
        cells = [
            f"**{cell}**" if cell == best[column.key] else cell
            for cell, column in zip(cells, used, strict=True)
        ]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    remarks = [f"- {row.name}: {row.remark}" for row in rows if row.remark]
    return "\n".join([*lines, *(["", *remarks] if remarks else []), ""])


def csv_table(rows: Iterable[Row]) -> str:
    """The table as CSV with full figures; rows_from_csv reads it back."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([NAME, *(column.key for column in COLUMNS), "remark"])
    for row in rows:
        figures = [row.figures.get(column.key, "") for column in COLUMNS]
        writer.writerow([row.name, *figures, row.remark])
    return out.getvalue()

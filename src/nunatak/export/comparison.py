"""The comparison of recipes as a figure: one panel per quantity, one bar per recipe."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from nunatak.export.style import ACCENT, MUTED, WARM, styled
from nunatak.metrics.comparison import COLUMNS, Row, shown

PANELS_IN_A_ROW = 4


@styled
def comparison_figure(rows: Sequence[Row], own: int) -> Figure:
    """Bars of every quantity that any row has.

    Parameters
    ----------
    rows : sequence of Row
    own : int
        So many of the first rows are Nunatak's recipes; the rest are originals, in another colour.
    """
    used = [column for column in COLUMNS if any(column.key in row.figures for row in rows)]
    down = max(1, -(-len(used) // PANELS_IN_A_ROW))
    figure = Figure(figsize=(3.0 * PANELS_IN_A_ROW, down * (0.9 + 0.32 * len(rows))), layout="constrained")
    grid = figure.subplots(down, PANELS_IN_A_ROW, squeeze=False)
    places = range(len(rows))[::-1]
    for number, axes in enumerate(grid.flat):
        if number >= len(used):
            axes.set_axis_off()
            continue
        column = used[number]
        values = [row.figures.get(column.key, 0.0) for row in rows]
        colours = [ACCENT if i < own else WARM for i in range(len(rows))]
        axes.barh(places, values, color=colours, height=0.62)
        for place, row, value in zip(places, rows, values, strict=True):
            axes.text(value, place, f" {shown(row, column)}", va="center", color=MUTED, fontsize=8)
        first = number % PANELS_IN_A_ROW == 0
        axes.set_yticks(list(places), [row.name for row in rows] if first else [""] * len(rows))
        axes.set_title(column.title, fontsize=9.5, loc="left")
        axes.set_xlim(0, 1.3 * max([*values, 1e-9]))
        axes.set_xticks([])
        axes.spines[["bottom", "left"]].set_visible(False)
        axes.tick_params(length=0)
    return figure

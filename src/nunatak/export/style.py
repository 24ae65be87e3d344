"""One look for all figures, and how a figure becomes part of a page that follows light and dark."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

INK, MUTED, HAIRLINE = "#1c2733", "#66757f", "#dde3e8"
ACCENT, WARM, MOSS = "#2f6f9f", "#c2603a", "#7b9a4e"

THEMED = {
    INK: "--ink",
    MUTED: "--muted",
    HAIRLINE: "--hairline",
    ACCENT: "--accent",
    WARM: "--warm",
    MOSS: "--moss",
}
"""Colours that a page may replace by its own variable, so that a figure reads on light and dark."""

FIGURE_SIZE_IN = (4.6, 3.1)

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelpad": 6,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "text.color": INK,
    "grid.color": HAIRLINE,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "nunatak",
    "path.simplify": True,
}

Parameters = ParamSpec("Parameters")


def styled(draw: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Draw a figure in the house style, leaving matplotlib's settings as they were."""

    @wraps(draw)
    def drawn(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def new_axes(
    size_in: tuple[float, float] = FIGURE_SIZE_IN, rows: int = 1, columns: int = 1
) -> tuple[Figure, Any]:
    """A figure without pyplot's global state, and its axes."""
    figure = Figure(figsize=size_in, layout="constrained")
    return figure, figure.subplots(rows, columns)


def quiet_grid(axes: Axes, axis: str = "y") -> None:
    """Hairlines along one direction and no tick marks."""
    axes.grid(True, axis=axis)  # type: ignore[arg-type]
    axes.tick_params(length=0)


def fading(colour: str = ACCENT, floor: float = 0.12) -> LinearSegmentedColormap:
    """A colour map of one hue and growing opacity: it works on any background."""
    red, green, blue = to_rgb(colour)
    ends = [(red, green, blue, floor), (red, green, blue, 1.0)]
    return LinearSegmentedColormap.from_list("fading", ends)


def figure_svg(figure: Figure, label: str, prefix: str) -> str:
    """A figure as an <svg> element for a page.

    Parameters
    ----------
    label : str
        What the figure shows, for those who do not see it.
    prefix : str
        Makes the element's ids unique on the page.
    """
    buffer = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = re.sub(r"<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.S)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = svg.replace("url(#", f"url(#{prefix}-").replace('href="#', f'href="#{prefix}-')
    for colour, variable in THEMED.items():
        svg = svg.replace(colour, f"var({variable})")
    return _with_label(svg, label)


def image_uri(pixels: NDArray[np.uint8]) -> str:
    """A data: address of an (h, w), (h, w, 3) or (h, w, 4) uint8 picture as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _with_label(svg: str, label: str) -> str:
    """Replace the fixed size by a role and a label; the viewBox keeps the shape."""
    head, rest = svg.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    safe = label.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return f'{head} role="img" aria-label="{safe}">{rest}'

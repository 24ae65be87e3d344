"""Pieces of a self-contained page. Everything that comes from files passes through `text`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from nunatak.export.style import image_uri


@dataclass(frozen=True)
class Section:
    """One part of a report: a title, a sentence that says what it means, and its blocks of HTML."""

    title: str
    lead: str
    blocks: tuple[str, ...]


def text(value: object) -> str:
    """A value as text that is safe inside HTML, quotes included."""
    return escape(str(value), quote=True)


def figure(content: str, title: str, caption: str = "") -> str:
    """A <figure> with a heading above and a caption below; content is HTML, the rest plain text."""
    above = f"<h3>{text(title)}</h3>" if title else ""
    below = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return f"<figure>{above}{content}{below}</figure>"


def picture(pixels: NDArray[np.uint8], label: str) -> str:
    """An <img> that carries its pixels in it."""
    return f'<img src="{image_uri(pixels)}" alt="{text(label)}">'


def strip(pictures: Sequence[NDArray[np.uint8]], labels: Sequence[str], kind: str) -> str:
    """Pictures side by side, each with a word below; `kind` is the CSS class."""
    cells = (
        f"<div>{picture(pixels, label)}<span>{text(label)}</span></div>"
        for pixels, label in zip(pictures, labels, strict=True)
    )
    return f'<div class="strip {kind}" style="--count:{len(pictures)}">{"".join(cells)}</div>'


def grid(blocks: Iterable[str]) -> str:
    """Figures in two columns where there is room."""
    return f'<div class="grid">{"".join(blocks)}</div>'


def table(rows: Iterable[Sequence[object]], kind: str = "") -> str:
    """A table whose first column names the row; cells are plain text."""
    lines = []
    for first, *rest in rows:
        cells = "".join(f"<td>{text(cell)}</td>" for cell in rest)
        lines.append(f'<tr><th scope="row">{text(first)}</th>{cells}</tr>')
    return f'<table class="{text(kind)}">{"".join(lines)}</table>'


def palette() -> str:
    """The colours of all pages, light and dark, as CSS variables."""
    return resources.files("nunatak.export").joinpath("palette.css").read_text(encoding="utf-8")


def page(title: str, body: str) -> str:
    """A whole HTML document with its style inside and nothing outside."""
    css = palette() + resources.files("nunatak.export").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{text(title)}</title>\n<style>\n{css}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def section(content: Section) -> str:
    """A <section> of the page."""
    lead = f'<p class="lead">{text(content.lead)}</p>' if content.lead else ""
    return f"<section>\n<h2>{text(content.title)}</h2>\n{lead}\n{''.join(content.blocks)}\n</section>"

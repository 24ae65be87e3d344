"""How particles spread: over viewing directions, confidence, shifts and latents."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from numpy.typing import NDArray

from nunatak.export.style import ACCENT, HAIRLINE, MUTED, WARM, fading, new_axes, quiet_grid, styled

SCATTER_LIMIT = 2500
"""Above so many points a scatter becomes a density: single points would hide it and weigh the page down."""


@styled
def view_figure(rotations: NDArray) -> Figure:
    """Viewing directions on the whole sphere, in Mollweide's equal-area projection.

    Cells have equal area on the sphere, so a uniform set looks uniform; the scale is in multiples of that.

    Parameters
    ----------
    rotations : (n, 3, 3)
        The last row is the viewing direction.
    """
    x, y = mollweide(np.asarray(rotations)[:, 2, :])
    figure, axes = new_axes((4.6, 2.7))
    cells_across = int(np.clip(np.sqrt(len(x) / 6), 8, 44))
    # A hexagon's share of the ellipse is the share of particles that uniform views would put there.
    hexagons = axes.hexbin(
        x, y, gridsize=(cells_across, max(3, cells_across // 3)), extent=(-2, 2, -1, 1), mincnt=1,
        cmap=fading(floor=0.06), linewidths=0.1,
    )  # fmt: skip
    vertices = hexagons.get_paths()[0].vertices
    cell_area = np.ptp(vertices[:, 0]) * np.ptp(vertices[:, 1]) * 0.75
    expected = len(x) * cell_area / (2 * np.pi)
    density = np.asarray(hexagons.get_array(), float) / expected
    hexagons.set_array(density)
    hexagons.set_clim(0, max(2.0, float(np.quantile(density, 0.99))))
    outline = Ellipse((0, 0), 4, 2, fill=False, edgecolor=MUTED, linewidth=0.8)
    axes.add_patch(outline)
    hexagons.set_clip_path(outline)
    _graticule(axes)
    axes.set(xlim=(-2.02, 2.02), ylim=(-1.02, 1.02), aspect="equal")
    axes.axis("off")
    bar = figure.colorbar(hexagons, ax=axes, shrink=0.7, aspect=16, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.set_label("density / uniform")
    return figure


@styled
def histogram_figure(values: NDArray, label: str, limits: tuple[float, float] | None = None) -> Figure:
    """Histogram of one figure per particle, its median marked.

    Parameters
    ----------
    values : (n,)
    label : str
        Name and unit.
    limits : (low, high), optional
    """
    figure, axes = new_axes((4.6, 2.7))
    shown = np.asarray(values, float)[np.isfinite(values)]
    bins = int(np.clip(np.sqrt(len(shown)), 8, 50))
    axes.hist(shown, bins=bins, range=limits, color=ACCENT, alpha=0.75, linewidth=0, rwidth=0.92)
    if len(shown):
        median = float(np.median(shown))
        axes.axvline(median, color=WARM, linewidth=1.2)
        right = limits is not None and median > np.mean(limits)
        axes.annotate(
            f"median {median:.2g}",
            (median, 1.0),
            (-5 if right else 5, -2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=WARM,
            va="top",
            ha="right" if right else "left",
        )
    axes.set(xlabel=label, ylabel="particles")
    if limits is not None:
        axes.set_xlim(*limits)
    quiet_grid(axes)
    return figure


@styled
def latent_figure(components: NDArray, names: tuple[str, str], path: NDArray | None = None) -> Figure:
    """Two latent components of every particle: points, or their density when there are many.

    Parameters
    ----------
    components : (n, 2)
    names : (str, str)
        Axis labels.
    path : (m, 2), optional
        Where the maps along the path were taken; numbered.
    """
    figure, axes = new_axes((4.6, 3.6))
    low, high = np.quantile(components, [0.001, 0.999], axis=0)
    margin = 0.06 * (high - low) + 1e-9
    extent = (low[0] - margin[0], high[0] + margin[0], low[1] - margin[1], high[1] + margin[1])
    if len(components) <= SCATTER_LIMIT:
        axes.scatter(*components.T, s=7, color=ACCENT, alpha=0.35, linewidths=0)
    else:
        axes.hexbin(
            *components.T, gridsize=(52, 34), extent=extent, mincnt=1, bins="log", cmap=fading(floor=0.05),
            linewidths=0.1,
        )  # fmt: skip
    if path is not None and len(path):
        _draw_path(axes, path)
    axes.set(xlim=extent[:2], ylim=extent[2:], xlabel=names[0], ylabel=names[1])
    axes.tick_params(length=0)
    return figure


def principal_components(latents: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, q) latents turned onto their principal axes, and the (q,) fraction of variance of each."""
    centred = np.asarray(latents, np.float64).reshape(len(latents), -1)
    centred = centred - centred.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    turned = centred @ axes[:, ::-1]
    variance = turned.var(0)
    return turned, variance / max(float(variance.sum()), 1e-30)


def mollweide(directions: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mollweide's plane coordinates of (n, 3) unit vectors: x in [-2, 2], y in [-1, 1]."""
    z = np.clip(np.asarray(directions, np.float64)[:, 2], -1, 1)
    longitude = np.arctan2(directions[:, 1], directions[:, 0])
    auxiliary = np.arcsin(z)
    # 2 t + sin 2 t = pi z by Newton's method; its slope vanishes at the poles, where t is known.
    for _ in range(12):
        slope = 2 + 2 * np.cos(2 * auxiliary)
        change = (2 * auxiliary + np.sin(2 * auxiliary) - np.pi * z) / np.maximum(slope, 1e-9)
        auxiliary = np.clip(auxiliary - change, -np.pi / 2, np.pi / 2)
    auxiliary = np.where(np.abs(z) > 1 - 1e-9, np.sign(z) * np.pi / 2, auxiliary)
    return 2 / np.pi * longitude * np.cos(auxiliary), np.sin(auxiliary)


def _graticule(axes: Axes) -> None:
    for latitude_deg in (-60, -30, 0, 30, 60):
        longitudes = np.radians(np.linspace(-179.9, 179.9, 60))
        _curve(axes, longitudes, np.full(60, np.radians(latitude_deg)))
    for longitude_deg in (-120, -60, 0, 60, 120):
        latitudes = np.radians(np.linspace(-89.9, 89.9, 60))
        _curve(axes, np.full(60, np.radians(longitude_deg)), latitudes)


def _curve(axes: Axes, longitudes: NDArray, latitudes: NDArray) -> None:
    circle = np.cos(latitudes)
    points = np.stack([circle * np.cos(longitudes), circle * np.sin(longitudes), np.sin(latitudes)], 1)
    axes.plot(*mollweide(points), color=HAIRLINE, linewidth=0.7, zorder=0)


def _draw_path(axes: Axes, path: NDArray) -> None:
    axes.plot(*path.T, color=WARM, linewidth=1.0, alpha=0.8)
    axes.plot(*path.T, "o", color=WARM, markersize=5)
    for number, point in enumerate(path, 1):
        axes.annotate(
            str(number), point, (0, 6), textcoords="offset points", color=WARM, ha="center", fontsize=9
        )

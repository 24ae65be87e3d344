"""Figures of an analysis: free energies, support of paths, clusters, occupancies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nunatak.analysis.sampling import spread_rows
from nunatak.export.style import (
    ACCENT,
    HAIRLINE,
    INK,
    MOSS,
    MUTED,
    WARM,
    fading,
    new_axes,
    quiet_grid,
    styled,
)

COLOURS = (ACCENT, WARM, MOSS, "#8a6fb0", "#c9a13b", "#4f9f9a", "#a8577e", "#6d7f8c")
MOST_KT = 6.0
"""Free energies above it are drawn alike: there are hardly any particles."""
SHOWN_POINTS = 4000
_ROOM = 0.08


@styled
def energy_plane_figure(
    free_energy_kT: NDArray, extents: Sequence[tuple[float, float]], way: NDArray | None = None
) -> Figure:
    """Free energy over the leading plane, with the recommended path.

    Parameters
    ----------
    free_energy_kT : (g, h)
        First coordinate along the first axis.
    extents : two (low, high)
    way : (m, 2), optional
    """
    figure, axes = new_axes((4.6, 3.6))
    shown = np.ma.masked_greater(free_energy_kT, MOST_KT)
    deep = LinearSegmentedColormap.from_list("deep", [fading(ACCENT, 0.04)(1.0), fading(ACCENT, 0.04)(0.0)])
    grids = [np.linspace(low, high, size) for (low, high), size in zip(extents, shown.shape, strict=True)]
    drawn = axes.contourf(grids[0], grids[1], shown.T, levels=np.arange(0, MOST_KT + 0.5, 0.5), cmap=deep)
    axes.contour(grids[0], grids[1], shown.T, levels=np.arange(1, MOST_KT, 1.0), colors=MUTED, linewidths=0.4)
    if way is not None:
        axes.plot(*way.T, color=WARM, linewidth=1.4)
        axes.plot(*way[[0, -1]].T, "o", color=WARM, markersize=4)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8, aspect=18, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.set_label("free energy (kT)")
    ways = (None, None) if way is None else way.T
    windows = [
        shown_window(grid, np.any(free_energy_kT <= MOST_KT, axis=1 - number), ways[number])
        for number, grid in enumerate(grids)
    ]
    axes.set(xlim=windows[0], ylim=windows[1])
    axes.set(xlabel="coordinate 1 (noise units)", ylabel="coordinate 2 (noise units)")
    axes.tick_params(length=0)
    return figure


def shown_window(grid: NDArray, drawn: NDArray, way: NDArray | None = None) -> tuple[float, float]:
    """From where to where a coordinate is drawn: what there is to see, the whole path, and some room.

    A few particles far out would shrink all others.

    Parameters
    ----------
    grid : (g,)
        Places along the coordinate.
    drawn : (g,) bool
        Where anything is drawn.
    way : (m,), optional
        The path's.
    """
    seen = grid[drawn] if way is None else np.concatenate([grid[drawn], way])
    room = _ROOM * max(float(np.ptp(seen)), float(grid[1] - grid[0]))
    return float(seen.min()) - room, float(seen.max()) + room


@styled
def energy_profile_figure(
    position: NDArray, free_energy_kT: NDArray, error_kT: NDArray, ends: tuple[float, float]
) -> Figure:
    """Free energy along a path with its error band, and where the path itself begins and ends."""
    figure, axes = new_axes((4.6, 2.9))
    low, high = (np.clip(free_energy_kT + sign * error_kT, 0, None) for sign in (-1, 1))
    axes.fill_between(position, low, high, color=ACCENT, alpha=0.2, linewidth=0)
    axes.plot(position, free_energy_kT, color=ACCENT)
    for end in ends:
        axes.axvline(end, color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
    axes.set(
        xlabel="distance along the path (noise units)",
        ylabel="free energy (kT)",
        ylim=(-0.2, MOST_KT + 1),
        xlim=(float(position[0]), float(position[-1])),
    )
    quiet_grid(axes)
    return figure


@styled
def support_figure(paths: Sequence[tuple[str, NDArray]], weak: float = 0.1) -> Figure:
    """Support along each path, from its beginning to its end; the line below which no particle shows it."""
    figure, axes = new_axes((4.6, 2.9))
    for (name, support), colour in zip(paths, COLOURS, strict=False):
        axes.plot(np.linspace(0, 1, len(support)), np.maximum(support, 1e-3), color=colour, label=name)
    axes.axhline(weak, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.text(0.995, weak * 1.1, "not supported below", color=MUTED, ha="right", fontsize=8)
    axes.set(xlabel="share of the path", ylabel="support", yscale="log", ylim=(8e-4, None), xlim=(0, 1))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, handlelength=1.2, fontsize=8)
    quiet_grid(axes)
    return figure


@styled
def cluster_figure(points: NDArray, labels: NDArray, names: tuple[str, str]) -> Figure:
    """An even sample of particles in a plane, coloured and numbered by cluster."""
    figure, axes = new_axes((4.6, 3.6))
    rows = spread_rows(len(points), SHOWN_POINTS)
    shown, own = points[rows], labels[rows]
    for cluster in np.unique(labels):
        here = shown[own == cluster]
        if not len(here):
            continue
        colour = COLOURS[int(cluster) % len(COLOURS)]
        axes.plot(*here.T, ".", color=colour, markersize=2.2, alpha=0.5, rasterized=True)
        axes.annotate(
            str(int(cluster)),
            np.median(here, axis=0),
            ha="center",
            va="center",
            color=INK,
            fontsize=9,
            bbox={"boxstyle": "circle,pad=0.15", "facecolor": HAIRLINE, "edgecolor": "none", "alpha": 0.8},
        )
    low, high = np.quantile(points, [0.002, 0.998], axis=0)
    margin = 0.06 * (high - low) + 1e-9
    axes.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.tick_params(length=0)
    return figure


@styled
def occupancy_figure(occupancies: NDArray, names: Sequence[str], shares: NDArray) -> Figure:
    """(m, b) occupancies as a table of tones, a column for each map as wide as its share of the particles."""
    figure, axes = new_axes((4.6, 0.6 + 0.28 * max(len(names), 3)))
    order = np.lexsort(np.round(occupancies.T, 1))
    edges = np.concatenate([[0.0], np.cumsum(shares[order])])
    drawn = axes.pcolormesh(
        edges, np.arange(len(names) + 1), occupancies[order].T, cmap=fading(floor=0.0), vmin=0, vmax=1
    )
    axes.set_yticks(np.arange(len(names)) + 0.5, list(names))
    axes.invert_yaxis()
    axes.set(xlabel="share of the particles")
    axes.tick_params(length=0)
    bar = figure.colorbar(drawn, ax=axes, aspect=10, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label("occupancy")
    return figure

"""Curves of a run: agreement of the half maps, and how evidence, resolution and poses went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nunatak.export.style import ACCENT, MUTED, WARM, new_axes, quiet_grid, styled

HALF_MAP_THRESHOLD = 0.143
# Of the small labels of stages.
_POINTS_PER_LETTER, _POINTS_PER_ROW = 4.4, 9.0


@dataclass(frozen=True)
class Trace:
    """One quantity over the run's time, for one restart.

    Attributes
    ----------
    time_s, value : (n,) float64
    restart : int or None
    stage : tuple of str
        Stage at each time; may be empty.
    """

    time_s: NDArray[np.float64]
    value: NDArray[np.float64]
    restart: int | None = None
    stage: tuple[str, ...] = ()


@styled
def fsc_figure(
    frequencies_per_A: NDArray,
    correlation: NDArray,
    resolution_A: float | None,
    in_the_molecule: tuple[NDArray, NDArray] | None = None,
) -> Figure:
    """Fourier shell correlation of the half maps against frequency, with the 0.143 line.

    Parameters
    ----------
    frequencies_per_A, correlation : (shells,) float
    resolution_A : float or None
        Marked where it is claimed.
    in_the_molecule : (frequencies_per_A, correlation) or None
        The same without the noise around the molecule.
    """
    figure, axes = new_axes()
    axes.axhline(0, color=MUTED, linewidth=0.6)
    axes.axhline(HALF_MAP_THRESHOLD, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    # On the left, where no curve comes near: the resolution is written beside its mark on the right.
    axes.text(
        0.012, HALF_MAP_THRESHOLD + 0.02, "0.143", color=MUTED, transform=axes.get_yaxis_transform(), zorder=5
    )
    axes.fill_between(
        frequencies_per_A, 0, np.clip(correlation, 0, None), color=ACCENT, alpha=0.10, linewidth=0
    )
    axes.plot(frequencies_per_A, correlation, color=ACCENT)
    if in_the_molecule is not None:
        axes.plot(*in_the_molecule, color=ACCENT, linewidth=0.9)
    if resolution_A:
        axes.plot([1 / resolution_A] * 2, [0, HALF_MAP_THRESHOLD], color=WARM, linewidth=1.2)
        axes.plot(1 / resolution_A, HALF_MAP_THRESHOLD, "o", color=WARM, markersize=5)
        axes.annotate(
            f"{resolution_A:.1f} Å",
            (1 / resolution_A, HALF_MAP_THRESHOLD),
            (6, 8),
            textcoords="offset points",
            color=WARM,
        )
    low = min(-0.04, float(np.min(correlation)) - 0.03)
    axes.set(
        ylim=(max(low, -0.4), 1.03),
        xlim=(0, float(frequencies_per_A[-1])),
        ylabel="Fourier shell correlation",
    )
    _label_resolution_ticks(axes, float(frequencies_per_A[-1]))
    quiet_grid(axes)
    return figure


@styled
def trace_figure(
    traces: Sequence[Trace],
    label: str,
    chosen: int | None = None,
    falling: bool = False,
    stages: Sequence[str] = (),
) -> Figure:
    """One quantity against time; the chosen restart stands out, the others stay behind it.

    A hairline and a number stand where a stage begins.

    Parameters
    ----------
    traces : sequence of Trace
    label : str
        Name and unit of the quantity.
    chosen : int, optional
        The restart whose result the run kept.
    falling : bool
        Draw the vertical axis downwards, for resolutions: better is up.
    stages : sequence of str
        All stages of the run, in the order of their numbers; by default those of the traces.
    """
    figure, axes = new_axes()
    several = len({trace.restart for trace in traces} - {None}) > 1
    # The chosen one last, so that it lies on top; lines of no restart belong to what went on.
    for trace in sorted(traces, key=lambda t: t.restart in (chosen, None)):
        kept = not several or chosen is None or trace.restart in (chosen, None)
        colour, width, opacity = (ACCENT, 1.9, 1.0) if kept else (MUTED, 1.1, 0.45)
        time_s, value = _broken_at_gaps(trace)
        axes.plot(time_s / _time_unit(traces)[0], value, color=colour, linewidth=width, alpha=opacity)
    if several and chosen is not None:
        axes.plot([], [], color=ACCENT, label="kept")
        axes.plot([], [], color=MUTED, linewidth=1.1, alpha=0.6, label="other restarts")
        axes.legend(loc="best", handlelength=1.4)
    _mark_stages((figure, axes), traces, stages)
    axes.set(xlabel=f"time ({_time_unit(traces)[1]})", ylabel=label)
    axes.margins(x=0.01)
    if falling:
        axes.invert_yaxis()
    quiet_grid(axes)
    return figure


def _broken_at_gaps(trace: Trace) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times and values with a hole wherever the trace waited while others ran."""
    steps = np.diff(trace.time_s)
    if not len(steps):
        return trace.time_s, trace.value
    gaps = np.flatnonzero(steps > 8 * np.median(steps)) + 1
    return np.insert(trace.time_s, gaps, np.nan), np.insert(trace.value, gaps, np.nan)


def _label_resolution_ticks(axes: Axes, highest_per_A: float) -> None:
    """Ticks at even steps of frequency, labelled with the resolution that they mean."""
    ticks = np.linspace(0, highest_per_A, 6)[1:]
    axes.set_xticks(ticks, [f"{1 / tick:.1f}" if 1 / tick < 10 else f"{1 / tick:.0f}" for tick in ticks])
    axes.set_xlabel("resolution (Å)")


def _mark_stages(drawing: tuple[Figure, Axes], traces: Sequence[Trace], stages: Sequence[str]) -> None:
    """A hairline where a new stage begins, with its number."""
    figure, axes = drawing
    unit = _time_unit(traces)[0]
    starts: dict[str, float] = {}
    for trace in traces:
        for time_s, stage in zip(trace.time_s, trace.stage, strict=False):
            starts[stage] = min(starts.get(stage, np.inf), float(time_s))
    if len(starts) < 2:
        return
    numbers = {stage: str(place + 1) for place, stage in enumerate(dict.fromkeys((*stages, *starts)))}
    first, last = min(starts.values()), max(float(trace.time_s[-1]) for trace in traces if len(trace.time_s))
    width_pt = 0.8 * 72 * figure.get_size_inches()[0]
    places = [width_pt * (time_s - first) / max(last - first, 1e-9) for time_s in starts.values()]
    rows = label_rows(places, [_POINTS_PER_LETTER * (len(numbers[stage]) + 1) for stage in starts])
    for (stage, time_s), row in zip(starts.items(), rows, strict=True):
        if time_s > first:
            axes.axvline(time_s / unit, color=MUTED, linewidth=0.7, linestyle=(0, (1, 2)))
        axes.annotate(
            numbers[stage],
            (time_s / unit, 1.0),
            (0, 2 + _POINTS_PER_ROW * row),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=MUTED,
            fontsize=8,
            va="bottom",
            ha="center",
        )


def label_rows(starts: Sequence[float], widths: Sequence[float]) -> list[int]:
    """A row for each label, from the lowest up, so that none begins before the last in its row has ended."""
    ends: list[float] = []
    rows = [0] * len(starts)
    for place in sorted(range(len(starts)), key=lambda i: starts[i]):
        row = next((number for number, end in enumerate(ends) if end <= starts[place]), len(ends))
        rows[place] = row
        ends[row : row + 1] = [starts[place] + widths[place]]
    return rows


def _time_unit(traces: Sequence[Trace]) -> tuple[float, str]:
    """Seconds in the unit of the time axis, and its name."""
    longest = max((float(trace.time_s[-1]) for trace in traces if len(trace.time_s)), default=0.0)
    return (3600.0, "h") if longest > 2 * 3600 else (60.0, "min") if longest > 180 else (1.0, "s")

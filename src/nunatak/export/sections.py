"""The sections of a report: functions of the run's contents, None when there is nothing to show."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunatak.export import words
from nunatak.export.analysis_contents import PATH_WORDS
from nunatak.export.curves import Trace, fsc_figure, trace_figure
from nunatak.export.distributions import histogram_figure, latent_figure, principal_components, view_figure
from nunatak.export.markup import Section, figure, grid, strip, table, text
from nunatak.export.pictures import central_part, map_pictures, particle_pictures
from nunatak.export.run_contents import RunContents
from nunatak.export.style import figure_svg
from nunatak.export.views import render_map, render_states

SHOWN_STATES = 7
RESOLUTION = "fsc_resolution_A"
"""Key of a history line that holds where the half-sets' FSC falls below its threshold."""
TRACES = {
    "log_evidence": ("Evidence", "log evidence per particle"),
    RESOLUTION: ("Resolution", "resolution (Å)"),
    "radius_px": ("Search radius", "radius (Fourier px)"),
    "pose_change_deg": ("Movement of poses", "median change (°)"),
}
"""Key of a history line -> (title, axis label)."""
NOT_TRACED = {"time_s", "restart", "update", "stage", "iteration", "step", "epoch", "seed"}
MOST_TRACES = 8
VIEW_NAMES = ("front", "turned 90°", "from above")


def hero(run: RunContents) -> str:
    """Three views of the map, for the top of the page; empty when there is no map or no structure in it."""
    if run.mean is None or words.found_nothing(run.summary):
        return ""
    pictures = render_map(run.mean.density)
    return strip(pictures, VIEW_NAMES, "hero") if pictures else ""


def resolution_section(run: RunContents) -> Section | None:
    """The FSC curve and, beside it, how the resolution marched."""
    if run.fsc is None:
        return None
    resolution_A, inside_A = (run.summary.get(name) for name in ("resolution_A", "resolution_molecule_A"))
    within = run.fsc_molecule
    inside = None if within is None else (within.frequencies_per_A, within.correlation)
    drawn = fsc_figure(run.fsc.frequencies_per_A, run.fsc.correlation, resolution_A, inside)
    blocks = [
        figure(
            figure_svg(drawn, "Fourier shell correlation of the half maps", "fsc"),
            "Agreement of the half maps",
            "Fourier shell correlation; a resolution is claimed where it first falls below 0.143. The thin "
            "line: where the molecule is, without the noise around it (corrected with random phases).",
        )
    ]
    marching = _traces(run, RESOLUTION)
    if marching:
        drawn = trace_figure(marching, "resolution (Å)", _kept_restart(run), True, _stages(run))
        svg = figure_svg(drawn, "Resolution against time", "march")
        blocks.append(figure(svg, "Resolution during the run", f"Finer is up. {_stages_sentence(run)}"))
    return Section("Resolution", words.resolution_sentence(resolution_A, inside_A), (grid(blocks),))


def map_section(run: RunContents) -> Section | None:
    """Slices and projections of the mean map."""
    if run.mean is None:
        return None
    shown = central_part(run.mean.density)
    slices, sums = map_pictures(shown)
    labels = [f"along {axis}" for axis in "zyx"]
    extent_A = shown.shape[0] * run.mean.pixel_size_A
    lead = f"Each picture is {extent_A:.0f} Å wide; protein is bright."
    if words.found_nothing(run.summary):
        lead = "What the last update left; it is no structure and is shown only to judge by. " + lead
    blocks = grid(
        [
            figure(strip(slices, labels, "grey"), "Central slices"),
            figure(strip(sums, labels, "grey"), "Projections"),
        ]
    )
    return Section("Map", lead, (blocks,))


def pose_section(run: RunContents) -> Section | None:
    """Viewing directions, confidence and shifts."""
    rows = run.particles
    if rows is None or (rows.rotations is None and rows.confidence is None):
        return None
    blocks, lead = [], []
    if rows.rotations is not None:
        covered = words.view_coverage(rows.rotations)
        lead.append(f"Views cover {covered:.0%} of the sphere, opposite views counting as one.")
        svg = figure_svg(view_figure(rows.rotations), "Viewing directions on the sphere", "views")
        caption = "The whole sphere, in an equal-area projection; 1 is what evenly spread views would give."
        blocks.append(figure(svg, "Viewing directions", caption))
    if rows.confidence is not None:
        lead.append(
            f"{(rows.confidence > words.CONFIDENT).mean():.0%} of the poses have a confidence above 0.5."
        )
        svg = _histogram(rows.confidence, "pose confidence", (0.0, 1.0), "confidence")
        blocks.append(
            figure(svg, "Confidence", "How much of each particle's probability lies at its best pose.")
        )
    if rows.shifts_A is not None:
        svg = _histogram(np.linalg.norm(rows.shifts_A, axis=1), "shift (Å)", None, "shifts")
        blocks.append(figure(svg, "Shifts", "How far each particle was moved to be centred."))
    if rows.junk_probability is not None and rows.junk_probability.max() > 0:
        svg = _histogram(rows.junk_probability, "junk probability", (0.0, 1.0), "junk")
        blocks.append(figure(svg, "Junk", "Probability that a picture shows no particle."))
    return Section("Poses", " ".join(lead), (grid(blocks),))


def conformation_section(run: RunContents) -> Section | None:
    """Latents, and the maps along their first component."""
    if run.latents is None and len(run.path_maps) < 2:
        return None
    blocks: list[str] = []
    lead = ""
    if len(run.path_maps) > 1:
        blocks.append(_states_block(run))
    if run.latents is not None:
        turned, fractions = principal_components(run.latents)
        share = f"{fractions[0]:.0%}"
        lead = (
            f"The first of {len(fractions)} principal components holds {share} of the latents' variance."
            if len(fractions) > 1
            else "One latent component."
        )
        blocks.append(grid(_latent_blocks(turned, fractions)))
    return Section("Conformations", lead, tuple(blocks))


def progress_section(run: RunContents) -> Section | None:
    """What the history holds, each quantity against time."""
    blocks: list[str] = []
    for key in _traced_keys(run):
        if key == RESOLUTION and run.fsc is not None:
            continue  # It stands beside the FSC.
        title, label = TRACES.get(key, (key.replace("_", " ").capitalize(), key.replace("_", " ")))
        drawn = trace_figure(_traces(run, key), label, _kept_restart(run), key == RESOLUTION, _stages(run))
        blocks.append(figure(figure_svg(drawn, f"{title} against time", f"trace-{len(blocks)}"), title))
    if not blocks:
        return None
    restarts = {entry.get("restart") for entry in run.history} - {None}
    lead = f"{len(restarts)} restarts from random maps; the best one went on. " if len(restarts) > 1 else ""
    return Section("Progress", (lead + _stages_sentence(run)).strip(), (grid(blocks),))


def _stages(run: RunContents) -> tuple[str, ...]:
    """Names of the stages that the history holds, in order: their numbers in all figures."""
    named = (entry.get("stage") for entry in run.history)
    return tuple(dict.fromkeys(stage for stage in named if isinstance(stage, str)))


def _stages_sentence(run: RunContents) -> str:
    stages = _stages(run)
    if len(stages) < 2:
        return ""
    return "Stages: " + ", ".join(f"{number + 1} {name}" for number, name in enumerate(stages)) + "."


def particle_section(run: RunContents) -> Section | None:
    """A few particle images, raw and low-passed."""
    if run.particles is None or run.particles.examples is None or run.particles.pixel_size_A <= 0:
        return None
    box_A = run.particles.examples.shape[-1] * run.particles.pixel_size_A
    cut_A = float(np.clip(box_A / 12, 4 * run.particles.pixel_size_A, 40))
    raw, smooth = particle_pictures(run.particles.examples, run.particles.pixel_size_A, cut_A)
    blank = [""] * len(raw)
    pictures = strip(raw, blank, "grey particles") + strip(smooth, blank, "grey particles")
    caption = f"Evenly spaced in the file; above as recorded, below without detail finer than {cut_A:.0f} Å."
    return Section("Particles", caption, (figure(pictures, ""),))


def truth_section(run: RunContents) -> Section | None:
    """The distance from the truth, where a simulation's is known."""
    truth = run.summary.get("truth")
    if not isinstance(truth, dict) or not truth:
        return None
    order = list(words.TRUTH_WORDS)
    names = sorted(truth, key=lambda name: order.index(name) if name in order else len(order))
    rows = [words.truth_row(name, truth[name]) for name in names]
    return Section(
        "Against the truth",
        "These particles were simulated, so the answer is known.",
        (table(rows, "truth"),),
    )


def parameter_section(run: RunContents) -> Section | None:
    """Every parameter of the run, as in config.toml."""
    groups = parameter_groups(run.config)
    if not groups:
        return None
    blocks = [f"<div><h3>{text(name)}</h3>{table(rows)}</div>" for name, rows in groups]
    lead = "As in config.toml: feeding that file back repeats the run."
    return Section("Parameters", lead, (f'<div class="parameters">{"".join(blocks)}</div>',))


def provenance_section(run: RunContents) -> Section | None:
    """Which program, called how."""
    keys = ("version", "command", "recipe", "seed")
    rows = [(key.capitalize(), words.plain_value(run.summary[key])) for key in keys if key in run.summary]
    return Section("Provenance", "", (table(rows, "provenance mono"),)) if rows else None


def parameter_groups(config: dict[str, Any], heading: str = "Run") -> list[tuple[str, list[tuple[str, str]]]]:
    """A nested configuration as (heading, rows) groups, the outer ones first."""
    rows = [(k, words.plain_value(v)) for k, v in config.items() if not isinstance(v, dict)]
    groups = [(heading, rows)] if rows else []
    for name, inner in config.items():
        if isinstance(inner, dict):
            label = name if heading == "Run" else f"{heading}.{name}"
            groups += parameter_groups(inner, label)
    return groups


def _states_block(run: RunContents) -> str:
    chosen = np.linspace(0, len(run.path_maps) - 1, min(SHOWN_STATES, len(run.path_maps))).round().astype(int)
    pictures = render_states([run.path_maps[i].density for i in chosen])
    if not pictures:
        return ""
    return figure(
        strip(pictures, [str(i + 1) for i in chosen], "states"),
        _states_title(run),
        "One contour level and one side throughout; orange marks where the states differ.",
    )


def _states_title(run: RunContents) -> str:
    if run.analysis is not None and run.analysis.recommended is not None:
        return f"States along the path: {PATH_WORDS[run.analysis.recommended]}"
    return "States along the first latent component"


def _latent_blocks(turned: NDArray, fractions: NDArray) -> list[str]:
    names = [f"component {i + 1} ({share:.0%})" for i, share in enumerate(fractions)]
    if len(fractions) == 1:
        return [figure(_histogram(turned[:, 0], names[0], None, "latent"), "Latents")]
    pairs = [(0, 1), (2, 3) if len(fractions) > 3 else (0, 2)][: 1 if len(fractions) < 3 else 2]
    blocks = []
    for a, b in pairs:
        drawn = latent_figure(turned[:, [a, b]], (names[a], names[b]))
        svg = figure_svg(drawn, f"Latent components {a + 1} and {b + 1} of every particle", f"latent-{a}{b}")
        blocks.append(figure(svg, "Latents" if (a, b) == (0, 1) else "Further components"))
    return blocks


def _histogram(values: NDArray, label: str, limits: tuple[float, float] | None, prefix: str) -> str:
    return figure_svg(histogram_figure(values, label, limits), f"Histogram of {label}", prefix)


def _traced_keys(run: RunContents) -> list[str]:
    """Known quantities first, then any other number that the history holds."""
    found = {key for entry in run.history for key, value in entry.items() if _is_number(value)}
    other = sorted(found - set(TRACES) - NOT_TRACED)
    keys = [key for key in TRACES if key in found] + other
    return [key for key in keys if any(len(trace.value) > 1 for trace in _traces(run, key))][:MOST_TRACES]


def _traces(run: RunContents, key: str) -> list[Trace]:
    """One trace per restart of the lines that have the quantity."""
    lines = [entry for entry in run.history if _is_number(entry.get(key)) and _is_number(entry.get("time_s"))]
    restarts = list(dict.fromkeys(entry.get("restart") for entry in lines))
    traces = []
    for restart in restarts:
        mine = [entry for entry in lines if entry.get("restart") == restart]
        traces.append(
            Trace(
                np.array([entry["time_s"] for entry in mine], float),
                np.array([entry[key] for entry in mine], float),
                restart,
                tuple(str(entry.get("stage", "")) for entry in mine),
            )
        )
    return traces


def _kept_restart(run: RunContents) -> int | None:
    """The restart that the last line belongs to, else the one that ended with the highest evidence."""
    last = next((entry.get("restart") for entry in reversed(run.history)), None)
    if last is not None:
        return last
    ends = [
        (trace.value[-1], trace.restart)
        for trace in _traces(run, "log_evidence")
        if trace.restart is not None
    ]
    return max(ends)[1] if ends else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))

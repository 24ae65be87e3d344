"""One self-contained page on which a run can be judged without another program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nunatak.core.words import duration
from nunatak.export import analysis_sections, sections, words
from nunatak.export.markup import Section, page, section, text
from nunatak.export.run_contents import RunContents, read_run_contents
from nunatak.io.atomic import write_text

SECTIONS: tuple[Callable[[RunContents], Section | None], ...] = (
    sections.truth_section,
    sections.resolution_section,
    sections.map_section,
    sections.conformation_section,
    analysis_sections.landscape_section,
    analysis_sections.group_section,
    analysis_sections.map_landscape_section,
    analysis_sections.association_section,
    sections.pose_section,
    sections.progress_section,
    sections.particle_section,
    sections.parameter_section,
    sections.provenance_section,
)
"""In the order of the page: what was found, how sure it is, how it came about."""


def write_report(run_dir: Path | str) -> Path:
    """Write RUN/report.html from what the run folder holds; missing parts leave out their section.

    Returns
    -------
    Path of the page.

    Raises
    ------
    InputError
        When the folder does not exist.
    """
    target = Path(run_dir) / "report.html"
    write_text(target, report_page(read_run_contents(run_dir)))
    return target


def report_page(run: RunContents) -> str:
    """The page as HTML, without any address outside itself."""
    found = [content for make in SECTIONS if (content := make(run)) is not None]
    body = [_header(run), _notices(run), sections.hero(run), _numbers(run), *map(section, found)]
    return page(f"{run.folder.resolve().name} – Nunatak", "\n".join(part for part in body if part))


def _header(run: RunContents) -> str:
    summary = run.summary
    recipe = f"<span>{text(summary['recipe'])}</span>" if summary.get("recipe") else ""
    name = f'<p class="name"><b>Nunatak</b><span>{text(run.folder.resolve().name)}</span>{recipe}</p>'
    sentence = words.headline(summary) if summary else "This run has no summary yet."
    return f"<header>{name}<h1>{text(sentence)}</h1></header>"


def _notices(run: RunContents) -> str:
    given = run.summary.get("warnings") or []
    sentences = [*(given if isinstance(given, list) else [given]), *run.problems]
    if not sentences:
        return ""
    title = "One warning" if len(sentences) == 1 else f"{len(sentences)} warnings"
    items = "".join(f"<li>{text(sentence)}</li>" for sentence in sentences)
    return f'<div class="notice" role="note"><h2>{title}</h2><ul>{items}</ul></div>'


def _numbers(run: RunContents) -> str:
    """The key figures in one row."""
    summary = run.summary
    pairs: list[tuple[str, str]] = []
    if "resolution_A" in summary:
        pairs.append(
            ("Resolution", f"{summary['resolution_A']:.1f} Å" if summary["resolution_A"] else "none")
        )
    if summary.get("particles"):
        pairs.append(("Particles", f"{summary['particles']:,}"))
    if summary.get("box_px"):
        pairs.append(("Box", f"{summary['box_px']} px"))
    if summary.get("pixel_size_A"):
        pairs.append(("Pixel", f"{summary['pixel_size_A']:.3g} Å"))
    if summary.get("latent_dim") is not None:
        pairs.append(("Latent dimensions", str(summary["latent_dim"])))
    if summary.get("wall_s"):
        pairs.append(("Time", duration(summary["wall_s"])))
    if summary.get("peak_memory_MB"):
        pairs.append(("Peak memory", words.memory(summary["peak_memory_MB"])))
    cells = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="numbers">{cells}</dl>' if cells else ""

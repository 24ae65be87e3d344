"""What was understood of a particle file, to be read by a person before anything is computed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from nunatak.core.errors import InputError
from nunatak.particles.contrast import guess_contrast_sign
from nunatak.particles.dataset import Particles

_SURE = 0.9


@dataclass(frozen=True)
class GroupSummary:
    """One optics group: its name, particles and image grid, and its optics (None without a CTF)."""

    name: str
    rows: int
    box_px: int
    pixel_size_A: float
    voltage_kV: float | None
    spherical_aberration_mm: float | None
    amplitude_contrast: float | None


@dataclass(frozen=True)
class Inspection:
    """What a particle file holds.

    Attributes
    ----------
    path, kind : str
    rows, stacks : int
    missing_stacks : tuple of str
        Names of stacks that were not found.
    groups : tuple of GroupSummary
    has_ctf, has_poses, has_half_sets : bool
    defocus_range_A, astigmatism_range_A, phase_shift_range_deg : (lowest, highest) or None
    contrast_sign : int or None
        +1 protein bright, -1 dark, as guessed; None where the images could not be read.
    contrast_confidence : float
        0 to 1.
    declared_sign : int or None
        What the file itself says.
    unused_columns : tuple of str
    warnings : tuple of str
    """

    path: str
    kind: str
    rows: int
    stacks: int
    missing_stacks: tuple[str, ...]
    groups: tuple[GroupSummary, ...]
    has_ctf: bool
    has_poses: bool
    has_half_sets: bool
    defocus_range_A: tuple[float, float] | None
    astigmatism_range_A: tuple[float, float] | None
    phase_shift_range_deg: tuple[float, float] | None
    contrast_sign: int | None
    contrast_confidence: float
    declared_sign: int | None
    unused_columns: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain types, for JSON."""
        return asdict(self)


def inspect_particles(particles: Particles, sample: int = 200, seed: int = 0) -> Inspection:
    """Look at a particle set; pixels are read only of `sample` images, for the contrast sign.

    What would be an error elsewhere (missing stacks, pixels that are not finite) is a warning here.
    """
    table, optics = particles.table, particles.optics
    missing = () if table is None else table.locations.missing()
    sign, confidence, notes = _contrast(particles, missing, sample, seed)
    declared = None if table is None else table.declared_sign
    if declared is not None and sign is not None and declared != sign and confidence > _SURE:
        notes += (
            f"The file says that protein is {_word(declared)}, the images look as if it were {_word(sign)}.",
        )
    has_ctf = particles.has_ctf
    return Inspection(
        path="" if table is None else str(table.path),
        kind="images in memory" if table is None else table.kind,
        rows=len(particles),
        stacks=0 if table is None else len(table.locations.stack_names),
        missing_stacks=missing,
        groups=_groups(particles),
        has_ctf=has_ctf,
        has_poses=particles.poses is not None,
        has_half_sets=particles.random_subset is not None,
        defocus_range_A=_range((optics.defocus_u_A + optics.defocus_v_A) / 2) if has_ctf else None,
        astigmatism_range_A=_range((optics.defocus_u_A - optics.defocus_v_A).abs()) if has_ctf else None,
        phase_shift_range_deg=_range(optics.phase_shift_deg) if has_ctf else None,
        contrast_sign=sign,
        contrast_confidence=confidence,
        declared_sign=declared,
        unused_columns=() if table is None else table.unused_columns,
        warnings=(*particles.warnings, *notes),
    )


def describe(inspection: Inspection) -> list[str]:
    """The inspection as lines for a terminal; warnings come last, one line each."""
    found = inspection
    lines = [f"{found.path}: {found.kind}", f"{found.rows:,} particles in {found.stacks:,} image stacks"]
    for group in found.groups:
        line = f"optics group {group.name}: {group.rows:,} particles, box {group.box_px or 'unknown'} px, "
        line += f"{group.pixel_size_A:.4g} A/px"
        if group.voltage_kV is not None:
            line += f", {group.voltage_kV:g} kV, Cs {group.spherical_aberration_mm:g} mm, "
            line += f"amplitude contrast {group.amplitude_contrast:g}"
        lines.append(line)
    lines.append(_ctf_line(found))
    lines.append(f"poses: {_yes(found.has_poses)}; half-sets: {_yes(found.has_half_sets)}")
    lines.append(_sign_line(found))
    if found.missing_stacks:
        shown = ", ".join(found.missing_stacks[:3]) + (", ..." if len(found.missing_stacks) > 3 else "")
        lines.append(
            f"missing: {len(found.missing_stacks)} of {found.stacks} stacks ({shown}); give --datadir"
        )
    return [*lines, *(f"warning: {sentence}" for sentence in found.warnings)]


def _contrast(
    particles: Particles, missing: tuple[str, ...], sample: int, seed: int
) -> tuple[int | None, float, tuple[str, ...]]:
    if missing:
        return None, 0.0, ()
    try:
        sign, confidence = guess_contrast_sign(particles, sample, seed)
    except InputError as fault:
        return None, 0.0, (str(fault),)
    return sign, confidence, ()


def _groups(particles: Particles) -> tuple[GroupSummary, ...]:
    names = None if particles.table is None else particles.table.group_names
    summaries = []
    for i, (pixel_size_A, box_px) in enumerate(
        zip(particles.group_pixel_size_A, particles.group_box_px, strict=True)
    ):
        rows = torch.nonzero(particles.optics_group == i).reshape(-1)
        known = particles.has_ctf and len(rows) > 0
        optics = particles.optics[rows[:1]] if known else None
        summaries.append(
            GroupSummary(
                name=str(i + 1) if names is None else names[i],
                rows=len(rows),
                box_px=box_px,
                pixel_size_A=pixel_size_A,
                voltage_kV=_decimal(optics.voltage_kV) if optics else None,
                spherical_aberration_mm=_decimal(optics.spherical_aberration_mm) if optics else None,
                amplitude_contrast=_decimal(optics.amplitude_contrast) if optics else None,
            )
        )
    return tuple(summaries)


def _decimal(values: torch.Tensor) -> float:
    return round(float(values[0]), 6)


def _range(values: torch.Tensor) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _word(sign: int) -> str:
    return "bright" if sign > 0 else "dark"


def _yes(is_there: bool) -> str:
    return "in the file" if is_there else "none"


def _ctf_line(found: Inspection) -> str:
    if found.defocus_range_A is None or found.astigmatism_range_A is None:
        return "CTF: none"
    low, high = found.defocus_range_A
    line = (
        f"CTF: defocus {low:,.0f} to {high:,.0f} A, astigmatism up to {found.astigmatism_range_A[1]:,.0f} A"
    )
    if found.phase_shift_range_deg is not None and any(found.phase_shift_range_deg):
        line += (
            f", phase shift {found.phase_shift_range_deg[0]:.1f} to {found.phase_shift_range_deg[1]:.1f} deg"
        )
    return line


def _sign_line(found: Inspection) -> str:
    if found.contrast_sign is None:
        return "contrast: not looked at, images are missing or unreadable"
    line = (
        f"contrast: protein looks {_word(found.contrast_sign)} (confidence {found.contrast_confidence:.2f})"
    )
    if found.contrast_confidence < _SURE:
        line = f"contrast: cannot tell, perhaps {_word(found.contrast_sign)}"
        line += f" (confidence {found.contrast_confidence:.2f}); say --contrast bright or dark"
    if found.declared_sign is not None:
        line += f"; the file says {_word(found.declared_sign)}"
    return line

"""Figures in words: what a report says of a run, and how it writes numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunatak.core.words import duration

CONFIDENT = 0.5

TRUTH_WORDS = {
    "rot_median_deg": ("Rotation error, median", "{:.2f}°", "after one alignment of the two frames"),
    "rot_within_state_median_deg": (
        "Rotation error within a state, median",
        "{:.2f}°",
        "after one alignment for each true state",
    ),
    "rot_within_state_own_hands_median_deg": (
        "The same with a hand of each state's own",
        "{:.2f}°",
        "as unrelated molecules have",
    ),
    "rot_mean_deg": ("Rotation error, mean", "{:.2f}°", "wrong poses weigh heavily here"),
    "rot_within_10deg": ("Particles within 10°", "{:.1%}", ""),
    "shift_median_A": ("Shift error, median", "{:.2f} Å", "after moving the map's origin"),
    "hand": ("Hand", "", "free in ab initio reconstruction; no error"),
    "mean_fsc05_A": ("Map against the true mean", "{:.1f} Å", "where their FSC falls below 0.5"),
    "mean_fsc_auc": ("Area under that FSC", "{:.3f}", "at most 0.5"),
    "latent_knn": (
        "Latents predict the true state",
        "{:.3f}",
        "20 nearest neighbours; 1 is perfect",
    ),
    "latent_ari": ("Clusters against true states", "{:.3f}", "adjusted Rand index; 1 is perfect"),
    "latent_pose_leak": ("View predicted by the latents", "{:.3f}", "R²; 0 is no leak"),
    "per_image_fsc_auc": (
        "Maps against the particles' true maps",
        "{:.3f}",
        "area under the FSC, at most 0.5",
    ),
    "per_image_fsc_auc_sd": ("Its standard deviation", "{:.3f}", ""),
    "volumes_scored": ("Maps compared", "{:,d}", ""),
    "junk_auc": ("Junk told from particles", "{:.3f}", "area under the ROC curve; 1 is perfect"),
    "n": ("Particles compared", "{:,d}", ""),
}
"""Figure -> (its name in words, format, what to know about it)."""


def headline(summary: dict[str, Any]) -> str:
    """The run in one sentence: the run's own where it has one."""
    if summary.get("outcome_sentence"):
        return str(summary["outcome_sentence"])
    if found_nothing(summary):
        return "No structure found."
    outcome = str(summary.get("outcome") or "Finished").replace("_", " ").capitalize()
    parts = []
    if summary.get("resolution_A"):
        parts.append(f"{summary['resolution_A']:.1f} Å")
    if summary.get("particles"):
        parts.append(f"from {summary['particles']:,} particles")
    if summary.get("wall_s"):
        parts.append(f"in {duration(summary['wall_s'])}")
    return f"{outcome}: {' '.join(parts)}." if parts else f"{outcome}."


def found_nothing(summary: dict[str, Any]) -> bool:
    """Whether the run's outcome is that there is no structure in the particles."""
    return "no structure" in str(summary.get("outcome", "")).replace("_", " ").lower()


def memory(megabytes: float) -> str:
    """'850 MB', '2.1 GB'."""
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


def plain_value(value: Any) -> str:
    """A parameter's value as a person would write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(plain_value(entry) for entry in value)
    return "–" if value is None or value == "" else str(value)


def truth_row(name: str, value: Any) -> tuple[str, str, str]:
    """(words, value, remark) of one of the referee's figures; unknown ones under their own name."""
    if name == "hand":
        words, _, remark = TRUTH_WORDS[name]
        return words, "as the truth" if value == 1 else "mirrored", remark
    words, form, remark = TRUTH_WORDS.get(name, (name.replace("_", " "), "{:.4g}", ""))
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return words, form.format(value) if numeric else plain_value(value), remark


def resolution_sentence(resolution_A: float | None, inside_A: float | None = None) -> str:
    """What the half maps say, and what they say where the molecule is."""
    if not resolution_A:
        return "The two half maps do not agree: no resolution is claimed."
    inside = f", and to {inside_A:.1f} Å where the molecule is" if inside_A else ""
    return f"Maps from two independent halves of the particles agree to {resolution_A:.1f} Å{inside}."


def view_coverage(rotations: NDArray) -> float:
    """Fraction 0 .. 1 of the sphere that (n, 3, 3) views cover, a view and its opposite counting as one.

    Cells of equal area, fewer for fewer particles, so that an even spread of them would fill nearly all.
    """
    direction = np.asarray(rotations)[:, 2, :]
    direction = direction * np.where(direction[:, 2:] < 0, -1, 1)
    bands = int(np.clip(np.sqrt(len(direction) / 30), 1, 8))
    band = np.minimum((direction[:, 2] * bands).astype(int), bands - 1)
    turn = np.arctan2(direction[:, 1], direction[:, 0]) / (2 * np.pi) % 1.0
    sector = np.minimum((turn * 2 * bands).astype(int), 2 * bands - 1)
    return len(np.unique(band * 2 * bands + sector)) / (2 * bands * bands)

"""What a run has to say about itself in words: the outcome, and what a careful reader should know."""

from __future__ import annotations

import math

from nunatak.core.words import duration
from nunatak.particles.cache import ImageCache
from nunatak.reconstruct.config import EngineConfig, mask_radius_fraction
from nunatak.reconstruct.starts import agreed
from nunatak.reconstruct.state import Outcome, RunState

# Below it an FSC between halves is mostly chance.
_LEAST_PARTICLES = 1000


def sentence(outcome: Outcome, resolution_A: float | None, count: int, wall_s: float) -> str:
    """The run in one sentence."""
    if outcome is Outcome.NO_STRUCTURE:
        return (
            f"No structure found in {count:,} particles: the best map explains images it has not seen "
            "no better than a ball does."
        )
    reached = "no resolution can be claimed" if resolution_A is None else f"{resolution_A:.1f} Å"
    word = "Converged" if outcome is Outcome.CONVERGED else "Stopped before poses were still"
    return f"{word}: {reached} from {count:,} particles in {duration(wall_s)}."


def counted(state: RunState) -> str:
    """What counting latent dimensions found, as a sentence after another one; empty where none were."""
    found = next((r["dimensions"] for r in reversed(state.history) if "dimensions" in r), None)
    if found is None:
        return ""
    if not found:
        return (
            " The particles do not differ beyond noise, pose and contrast, as far as two halves of them tell."
        )
    chosen = next((r for r in reversed(state.history) if r.get("molecules", 1) > 1), None)
    if chosen is not None:
        shares = ", ".join(f"{100 * share:.0f} %" for share in chosen["populations"])
        return f" The particles are {chosen['molecules']} different molecules: {shares}."
    found += sum(r.get("added", 0) for r in state.history)
    dimensions = "one dimension" if found == 1 else f"{found} dimensions"
    return f" Two halves of the particles agree on {dimensions} of difference between them."


def particles_needed(diameter_A: float, resolution_A: float) -> int:
    """Fewest particles for which a resolution can be taken at its word.

    Views must cover the sphere at the angular step resolution / diameter (Crowther, DeRosier & Klug 1970),
    pi (D / d)^2 of them at opposite views being one; each several times over in either half-set; and never
    under a thousand, below which an FSC between halves is mostly chance.
    """
    return max(_LEAST_PARTICLES, math.ceil(2 * math.pi * (diameter_A / resolution_A) ** 2))


def lone_winner(state: RunState, tolerance: float = 0.06) -> str | None:
    """A warning when no other random start came near the one that went on.

    Starts are compared after their first round: those that were dropped have had no other. The tolerance was
    set from one moving molecule (97, 94 and 88 at one seed, 94 to 95 at another) and from starts that had not
    found a rigid one (85 to 105 where the others had 122 to 130, docs/decisions/0002).
    """
    first: dict[int, float] = {}
    for record in state.history:
        if "update" in record and "restart" in record:
            first.setdefault(record["restart"], record["log_evidence"])
    if len(first) < 2 or agreed(state):
        return None
    best = max(first.values())
    chosen = first.get(state.start_labels[0], best) if state.start_labels else best
    near = sum(value > (1 - tolerance) * chosen for value in first.values())
    if near > 1:
        return None
    return (
        f"Only one of {len(first)} random starts reached this map: a wrong map can look sharp too; "
        "repeat with more --restarts or another --seed and see whether it comes back."
    )


def particle_warnings(
    state: RunState, cache: ImageCache, config: EngineConfig, resolution_A: float | None
) -> list[str]:
    """Warnings that follow from the result."""
    warnings: list[str] = []
    count = len(cache)
    if resolution_A is not None:
        needed = particles_needed(
            2 * mask_radius_fraction(config, cache.extent_A) * cache.extent_A, resolution_A
        )
        if count < needed:
            warnings.append(
                f"{count:,} particles are too few for the claimed {resolution_A:.1f} Å: at least about "
                f"{needed:,} would be needed; take the map and the resolution as unproven."
            )
        if resolution_A < 2.1 * cache.pixel_size_A:
            warnings.append("The half-sets agree up to the pixel size: a smaller pixel would show more.")
    left_out = next((r["left_out"] for r in state.history if r.get("left_out")), 0.0)
    if left_out:
        warnings.append(
            f"{left_out:.0%} of the images have the spectrum of ice, dirt or edges and took no part in the "
            "maps; nunatakJunk says which show no molecule."
        )
    alone = lone_winner(state)
    if alone is not None and state.outcome is not Outcome.NO_STRUCTURE:
        warnings.append(alone)
    if state.confidence is not None and state.outcome is not Outcome.NO_STRUCTURE:
        doubtful = float((state.confidence < 0.5).float().mean())
        if doubtful > 0.3:
            warnings.append(
                f"{doubtful:.0%} of the particles have a doubtful orientation (confidence under 0.5)."
            )
    if resolution_A is None and count < _LEAST_PARTICLES:
        warnings.append(
            f"{count:,} particles are too few to claim a resolution, or to say that there is no structure: "
            f"at least about {_LEAST_PARTICLES:,} would be needed."
        )
    if state.outcome is Outcome.NO_STRUCTURE:
        warnings.append(
            "No structure was found: poses and map are written for inspection only and mean nothing."
        )
    return warnings

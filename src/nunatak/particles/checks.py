"""What the jobs need of particles, as one sentence each where it is not there."""

from __future__ import annotations

import numpy as np

from nunatak.core.errors import require
from nunatak.particles.dataset import Particles

# Squares of a whole image's pixels are summed in float32, which ends at 3e38.
LARGEST_PIXEL = 1e16


def require_enough(particles: Particles, minimum: int = 2) -> None:
    """Raise InputError unless there are at least `minimum` particles."""
    held, noun = len(particles), "particle" if len(particles) == 1 else "particles"
    require(
        held >= minimum,
        f"{_name(particles)} holds {held} {noun}: at least {minimum} were expected; no structure can be "
        "found in so few.",
    )


def require_ctf(particles: Particles) -> None:
    """Raise InputError unless the particles have a CTF."""
    missing = () if particles.table is None else particles.table.ctf_missing
    named = ", ".join(missing) if missing else "the CTF columns"
    require(
        particles.has_ctf,
        f"{_name(particles)} has no CTF ({named} missing): estimate it first, give it by optics flags, "
        "or say --no-ctf for images without one.",
    )


def require_poses(particles: Particles) -> None:
    """Raise InputError unless the particles have poses."""
    require(
        particles.poses is not None,
        f"{_name(particles)} has no poses: rlnAngleRot, rlnAngleTilt and rlnAnglePsi (or alignments3D/pose) "
        "were expected; run `nunatak abinit` to find them.",
    )


def _name(particles: Particles) -> str:
    return "The particle set" if particles.table is None else str(particles.table.path)


def require_computable(images: np.ndarray, rows: np.ndarray) -> None:
    """Pixels whose squares can be summed in float32.

    Parameters
    ----------
    images : (n, box, box)
    rows : (n,)
        0-based rows of the particle file.

    Raises
    ------
    InputError
        An image has larger ones.
    """
    largest = np.maximum(images.max((1, 2)), -images.min((1, 2)))
    worst = int(largest.argmax())
    require(
        bool(largest[worst] < LARGEST_PIXEL),
        f"Particle row {rows[worst] + 1} has pixels as large as {largest[worst]:.0e}, but numbers up to "
        f"{LARGEST_PIXEL:.0e} were expected: scale the images down.",
    )

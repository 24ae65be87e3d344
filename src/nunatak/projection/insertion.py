"""Among how many threads insertion into a block is shared out: CPUs have no atomic addition of floats."""

from __future__ import annotations

import numba

# Of the private blocks of all threads together: large blocks are shared out among fewer of them.
_MOST_FLOATS = 400_000_000


def insertion_threads(floats: int, images: int, threads: int | None = None) -> int:
    """Threads, of all by default, that insert images into a block of so many floats.

    All but the first have a block of their own.
    """
    return max(1, min(threads or numba.get_num_threads(), images, _MOST_FLOATS // floats))

"""Even subsamples: the same rows every time, without chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spread_rows(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` evenly spaced row numbers of `count` rows, in order."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)

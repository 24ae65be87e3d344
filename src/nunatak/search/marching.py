"""Frequency marching: which Fourier radius a search looks at, step by step.

Two published schedules: equal steps from l_start to l_end (12 to 32 in cryoDRGN2 and cryoDRGN-AI: Zhong et
al. 2021, Levy et al. 2025); and doubling up to a limit that the map sets (from 12 in cryoSPARC: Punjani et
al. 2017).
"""

from __future__ import annotations

from typing import Literal

Schedule = Literal["linear", "doubling"]


def frequency_march(l_start: int, l_end: int, n_iter: int, schedule: Schedule = "linear") -> tuple[int, ...]:
    """Fourier radius of the first step and of each of `n_iter` further ones.

    Parameters
    ----------
    l_start, l_end : int
        First and last radius, Fourier pixels. A start beyond the end begins at the end.
    schedule : "linear" or "doubling"
        Equal steps, which end at l_end; or doubling up to l_end, which stay there.
    """
    l_start = min(l_start, l_end)
    if schedule == "doubling":
        return tuple(min(l_end, l_start * 2**level) for level in range(n_iter + 1))
    step = (l_end - l_start) / max(n_iter, 1)
    return tuple(round(l_start + step * level) for level in range(n_iter + 1))

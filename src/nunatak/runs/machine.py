"""The machine that a run computes on: its threads, its device, how much memory was taken."""

from __future__ import annotations

import resource
import sys

import numba
import torch

from nunatak.core.errors import InputError


def use_machine(device: str, threads: int) -> int:
    """Compute with so many threads, 0 taking all cores; the number that is used.

    Raises
    ------
    InputError
        CUDA was asked for: it is not there, or not used yet.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda was asked for, but torch sees no CUDA device; use --device cpu.")
    if device == "cuda":
        # Better refused than computed on the CPU in silence.
        raise InputError(
            "--device cuda was asked for, but the engine runs on the CPU only so far; use --device cpu."
        )
    threads = threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    return threads


def peak_memory_MB() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)

"""The machine that a run computes on: its threads, its device, how much memory was taken."""

from __future__ import annotations

import resource
import sys

import numba
import torch

from nunatak.core.device import choose_device


def use_machine(device: str, threads: int) -> tuple[torch.device, int]:
    """Compute on "auto", "cpu" or "cuda", with so many threads, 0 taking all cores; what these stand for.

    Raises
    ------
    InputError
        CUDA was asked for and is not there.
    """
    chosen = choose_device(device)
    if chosen.type == "cuda":
        # Scores are bfloat16 products, but their sums are float32.
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    threads = threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    return chosen, threads


def peak_memory_MB() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)

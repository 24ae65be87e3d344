"""The machine that a run computes on: its threads, its device, its processes, how much memory was taken."""

from __future__ import annotations

import os
import resource
import sys

import numba
import torch

from nunatak.core.collective import Group, join_group, local_processes
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
    beside = local_processes()
    if beside > 1:
        if chosen.type == "cuda":  # a card each
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        # torchrun gives every process one thread unless it is told otherwise.
        fair = max(1, (os.cpu_count() or 1) // beside)
        threads = min(threads, fair) if threads else fair
    threads = threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    return chosen, threads


def meet(device: torch.device) -> Group:
    """The processes that share this run; this one alone unless a launcher such as torchrun started several.

    Raises
    ------
    RunError
        The others do not answer.
    """
    # What is read on the CPU before a run begins is summed there.
    return join_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")


def peak_gpu_memory_MB(device: torch.device) -> float | None:
    """Most that torch has held of a GPU so far; None on the CPU."""
    return torch.cuda.max_memory_reserved(device) / 1e6 if device.type == "cuda" else None


def peak_memory_MB() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)

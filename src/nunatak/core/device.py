"""Where tensors live: which device a run takes, what moves there, and who has compiled kernels for it."""

from __future__ import annotations

import ctypes
import sys
from contextlib import AbstractContextManager
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from nunatak.core.errors import InputError

CPU = torch.device("cpu")

# Of a GPU's memory, what CUDA and its libraries take beside torch's tensors, about.
_CONTEXT_BYTES = 600_000_000

# What the plain torch path may take on the CPU, where it serves as the kernels' reference.
_REFERENCE_BYTES = 1 << 30

Tree = TypeVar("Tree")


def choose_device(name: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" stands for; "auto" is the GPU where there is one.

    Raises
    ------
    InputError
        "cuda" was asked for and torch sees none.
    """
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise InputError("--device cuda was asked for, but torch sees no CUDA device; use --device cpu.")
    return torch.device("cuda") if present and name != "cpu" else CPU


def is_host(device: torch.device) -> bool:
    """True for the CPU, whose memory is the machine's."""
    return device.type == "cpu"


def is_compiled(tensor: Tensor) -> bool:
    """True where the compiled kernels take a tensor: on the CPU. Elsewhere their plain torch twins run."""
    return tensor.device.type == "cpu"


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32: GPUs, and CPUs with instructions for it."""
    # Private names, of torch 2.6 and later: without them there is float32.
    names = "_is_avx512_bf16_supported", "_is_amx_tile_supported"
    asked = (getattr(torch.cpu, name, None) for name in names)
    return not is_host(device) or any(ask() for ask in asked if ask is not None)


def bfloat16_products(device: torch.device, wanted: bool) -> AbstractContextManager[Any]:
    """Where layers multiply in bfloat16, should that be wanted."""
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)


def to_device(tree: Tree, device: torch.device | str) -> Tree:
    """A tensor, or a tree of dataclasses, tuples and dictionaries of tensors, on a device; the rest as is."""
    return _moved(tree, torch.device(device))


def _moved(tree: Any, device: torch.device) -> Any:
    if isinstance(tree, Tensor):
        return tree.to(device)
    if is_dataclass(tree) and not isinstance(tree, type):
        return replace(tree, **{f.name: _moved(getattr(tree, f.name), device) for f in fields(tree)})
    if isinstance(tree, tuple):
        return tuple(_moved(item, device) for item in tree)
    if isinstance(tree, dict):
        return {key: _moved(item, device) for key, item in tree.items()}
    return tree


def hand_back_freed() -> None:
    """Give the system what was freed: else what one pass no longer needs adds to what the next one takes.

    The C library keeps pieces under some tens of megabytes; where it has no such call, nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def limit_gpu_memory(device: torch.device, most_bytes: float | None) -> None:
    """Let this process take so much of a GPU's memory and no more, or all of it; on a CPU nothing happens.

    More than that ends in torch's error for memory that is not there, whatever the GPU has.
    """
    if device.type != "cuda":
        return
    total = torch.cuda.mem_get_info(device)[1]
    share = 1.0 if most_bytes is None else max(most_bytes - _CONTEXT_BYTES, _CONTEXT_BYTES) / total
    torch.cuda.set_per_process_memory_fraction(min(share, 1.0), device.index)


def free_bytes(device: torch.device) -> int:
    """Memory that plain torch operations may take on a device."""
    if device.type != "cuda":
        return _REFERENCE_BYTES
    free, total = torch.cuda.mem_get_info(device)
    allocated = torch.cuda.memory_allocated(device)
    # Older torch keeps to the share but does not tell it.
    share_of = getattr(torch.cuda, "get_per_process_memory_fraction", lambda index: 1.0)
    allowed = int(share_of(device.index) * total)
    # What torch holds in reserve is free as well.
    return max(min(free + torch.cuda.memory_reserved(device), allowed) - allocated, 0)


def rows_that_fit(bytes_per_row: int, device: torch.device) -> int:
    """How many rows of an operation to take at a time: half of what is free, the other half is for others."""
    return max(1, free_bytes(device) // (2 * max(bytes_per_row, 1)))

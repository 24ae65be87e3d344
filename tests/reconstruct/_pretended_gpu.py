"""Tensors that claim to live on a GPU, for machines that have none: real numbers, and a GPU's refusals.

Inside `pretended_gpu()` whatever is made on, or moved to, the device "cuda" is a PretendedTensor: an ordinary
CPU tensor that says otherwise. Every torch function passes through the mode below, which refuses what a GPU
refuses: operands on two devices, `.numpy()`, a CPU generator for a draw on the GPU; and, stricter than torch,
indexing one device with the other's indices. So whole runs, and not single operators only, show whether
everything keeps to its device. What the pretence cannot show is the GPU's own arithmetic and its speed.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda", 0)


class PretendedTensor(Tensor):
    """A tensor on the GPU that is not there; only made by PretendedGpu."""

    __torch_function__ = torch._C._disabled_torch_function_impl


def is_pretended(value: Any) -> bool:
    return isinstance(value, PretendedTensor)


def plain(value: Any) -> Any:
    """The same numbers on the CPU, sharing memory."""
    return value.as_subclass(Tensor) if is_pretended(value) else value


def claimed(value: Any) -> Any:
    """The same numbers on the pretended GPU, sharing memory."""
    return value.as_subclass(PretendedTensor) if isinstance(value, Tensor) else value


def wanted_device(function: Any, args: tuple, kwargs: dict) -> torch.device | None:
    """The device that a call names, by keyword or, as `to` takes it, in place."""
    device = kwargs.get("device")
    if device is None and getattr(function, "__name__", "") == "to":
        named = [a for a in args[1:] if isinstance(a, str | torch.device)]
        alike = [GPU if is_pretended(a) else a.device for a in args[1:] if isinstance(a, Tensor)]
        device = (named + alike or [None])[0]
    return None if device is None else torch.device(device)


class PretendedGpu(TorchFunctionMode):
    """Runs everything on the CPU and keeps account of what lies on which device."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(function, "__name__", str(function))
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        ours = [leaf for leaf in leaves if is_pretended(leaf)]
        if name == "__get__" and ours:
            return self._attribute(function, args)
        device = wanted_device(function, args, kwargs)
        self._refuse(name, leaves, ours, device, kwargs)
        if device is not None and device.type == "cuda":
            args, kwargs = tree_map(lambda a: torch.device("cpu") if a == device else a, (args, kwargs))
            kwargs |= {"device": "cpu"} if "device" in kwargs else {}
            args = tuple("cpu" if isinstance(a, str) and a.startswith("cuda") else a for a in args)
        there = bool(ours) if device is None else device.type == "cuda"
        if ours:
            self.calls[name] += 1
        with torch._C.DisableTorchFunctionSubclass():
            args, kwargs = tree_map(plain, (args, kwargs))
            found = function(*args, **kwargs)
            if not there or name == "cpu" or isinstance(found, torch.Size):
                return found
            return tree_map(claimed, found)

    @staticmethod
    def _attribute(function: Any, args: tuple) -> Any:
        owner = function.__self__.__name__
        if owner == "device":
            return GPU
        if owner == "is_cuda":
            return True
        with torch._C.DisableTorchFunctionSubclass():
            found = function(plain(args[0]))
        return found if isinstance(found, torch.Size) else claimed(found)

    @staticmethod
    def _refuse(
        name: str, leaves: list[Tensor], ours: list[Tensor], device: torch.device | None, kwargs: dict
    ) -> None:
        if ours and name in {"numpy", "__array__"}:
            raise TypeError(f"{name}: can't convert a cuda tensor to numpy")
        if kwargs.get("generator") is not None and (ours or (device is not None and device.type == "cuda")):
            raise RuntimeError(f"{name}: a CPU generator cannot draw on cuda")
        with torch._C.DisableTorchFunctionSubclass():
            strangers = [leaf for leaf in leaves if not is_pretended(leaf) and leaf.dim() > 0]
        if ours and strangers and not (name == "to" and len(leaves) == 2):
            raise RuntimeError(f"{name}: operands on two devices, cuda:0 and cpu")


@contextmanager
def pretended_gpu(memory_bytes: int = 1 << 30) -> Iterator[PretendedGpu]:
    """A GPU of some memory that torch functions inside believe in."""
    allowance = [1.0]

    def allow(share: float, device: int | None = None) -> None:
        allowance.append(share)

    def allowed(device: int | None = None) -> float:
        return allowance[-1]

    _forget_by_device()
    try:
        with (
            mock.patch("torch.cuda.is_available", return_value=True),
            mock.patch("torch.cuda.mem_get_info", return_value=(memory_bytes, memory_bytes)),
            mock.patch("torch.cuda.set_per_process_memory_fraction", allow),
            mock.patch("torch.cuda.get_per_process_memory_fraction", allowed),
            PretendedGpu() as mode,
        ):
            yield mode
    finally:
        _forget_by_device()


def _forget_by_device() -> None:
    """Empty nunatak's caches: what they hold by device must not pass between the pretence and a real GPU."""
    for module in [module for name, module in sys.modules.items() if name.startswith("nunatak.")]:
        for value in vars(module).values():
            getattr(value, "cache_clear", int)()

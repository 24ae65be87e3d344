"""Several processes that share one run: who holds which rows, sums over all of them, values of all of them.

Every process has the whole state and a share of the images. What passes add up over images goes through
`Share.total`, what they find out about each image through `Share.joined`; alone, both hand back what they are
given, so that nobody has to ask how many processes there are (docs/decisions/0013).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import timedelta
from itertools import repeat
from typing import Any, TypeVar

import torch
import torch.distributed as distributed
from torch import Tensor

from nunatak.core.device import CPU
from nunatak.core.errors import RunError

Tree = TypeVar("Tree")

# Between two meetings the slowest process may read its images or write a checkpoint.
_PATIENCE = timedelta(hours=2)
# How long to look for the others when there is something to say.
_NEWS_PATIENCE = timedelta(seconds=3)


@dataclass(frozen=True)
class Group:
    """The processes of a run.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
    size : int
        How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def share_of(self, count: int) -> Share:
        """This process' share of so many rows."""
        return Share(self.rank, self.size, count)

    def total(self, tree: Tree) -> Tree:
        """The sum over all processes of every tensor and float of a tree; whole numbers stay.

        Tensors are summed in place where that is possible: hand over what nobody else needs.

        Raises
        ------
        RunError
            Another process is lost.
        """
        if self.size == 1:
            return tree
        found = list(_leaves(tree, float))
        tensors = [leaf.contiguous() for leaf in found if isinstance(leaf, Tensor)]
        numbers = _packed([leaf for leaf in found if not isinstance(leaf, Tensor)], tensors)
        with _others():
            for tensor in filter(torch.numel, [*tensors, numbers]):
                distributed.all_reduce(_real(tensor))
        return _rebuilt(tree, iter(tensors), iter(numbers.tolist()), float)

    def once(self, tree: Tree) -> Tree:
        """A tree that all processes have, made ready to be part of a total: zero in all but the first."""
        if self.is_first:
            return tree
        found = _leaves(tree, float)
        tensors = (torch.zeros_like(leaf) for leaf in found if isinstance(leaf, Tensor))
        return _rebuilt(tree, tensors, repeat(0.0), float)

    def joined(self, tree: Tree) -> Tree:
        """Every tensor of a tree with the rows of all processes, in their order.

        Raises
        ------
        RunError
            Another process is lost.
        """
        if self.size == 1:
            return tree
        tensors = (self._joined(leaf) for leaf in _leaves(tree, float) if isinstance(leaf, Tensor))
        return _rebuilt(tree, tensors, None, float)

    def _joined(self, values: Tensor) -> Tensor:
        real = _real(values.contiguous())
        lengths = torch.zeros(self.size, dtype=torch.long, device=values.device)
        lengths[self.rank] = len(real)
        with _others():
            distributed.all_reduce(lengths)
            counts = lengths.tolist()
            padded = real.new_zeros(max(counts), *real.shape[1:])
            padded[: len(real)] = real
            if not padded.numel():
                return values.new_zeros(sum(counts), *values.shape[1:])
            parts = [torch.empty_like(padded) for _ in counts]
            distributed.all_gather(parts, padded)
        whole = torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
        return torch.view_as_complex(whole) if values.is_complex() else whole

    def agreed(self, tree: Tree) -> Tree:
        """The first process' tensors and numbers, for all: else rounding would let decisions drift apart.

        Raises
        ------
        RunError
            Another process is lost, or has something of another shape.
        """
        if self.size == 1:
            return tree
        found = list(_leaves(tree, (int, float)))
        tensors = [leaf.contiguous() for leaf in found if isinstance(leaf, Tensor)]
        numbers = _packed([leaf for leaf in found if not isinstance(leaf, Tensor)], tensors)
        shape = _packed([len(numbers), *(n for t in tensors for n in (t.ndim, *t.shape))], tensors)
        self._require_same(shape)
        with _others():
            for tensor in filter(torch.numel, [*tensors, numbers]):
                distributed.broadcast(_real(tensor), 0)
        return _rebuilt(tree, iter(tensors), iter(numbers.tolist()), (int, float))

    def _require_same(self, numbers: Tensor) -> None:
        """Raise RunError unless all processes have these numbers."""
        places = torch.arange(1, len(numbers) + 1, device=numbers.device)
        marks = torch.stack([numbers.sum(), numbers @ places.double()])
        # The largest of a mark and of its negative are its own everywhere, or nowhere that differs.
        own = torch.cat([marks, -marks])
        largest = own.clone()
        with _others():
            distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        if not torch.equal(own, largest):
            raise RunError(
                "The processes of this run no longer hold the same state: `nunatak resume RUN` goes on from "
                "the last checkpoint; if it comes back, report it."
            )


@dataclass(frozen=True)
class Share(Group):
    """The rows that this process holds: neighbours, so that stacks are read in order; alone, all of them.

    Attributes
    ----------
    count : int
        Rows of all processes together; not looked at by a process that is alone.
    """

    count: int = 0

    @property
    def bounds(self) -> tuple[int, int]:
        """The first row held here, and the one after the last."""
        return self.rank * self.count // self.size, (self.rank + 1) * self.count // self.size

    def holds(self, rows: Tensor) -> Tensor:
        """(k,) bool: which of (k,) rows of the whole are held here."""
        first, end = self.bounds
        return (rows >= first) & (rows < end) if self.size > 1 else torch.ones_like(rows, dtype=torch.bool)

    def mine(self, rows: Tensor) -> Tensor:
        """Those of some rows of the whole that are held here, in their order."""
        return rows[self.holds(rows)] if self.size > 1 else rows

    def tiles(self, rows: Tensor, at_once: int) -> tuple[Tensor, ...]:
        """Those of some rows that are held here, so many at a time; none where none is."""
        mine = self.mine(rows)
        return mine.split(at_once) if len(mine) else ()

    def local(self, rows: Tensor) -> Tensor:
        """Positions among the rows held here of rows of the whole, all of them held here."""
        return rows - self.bounds[0] if self.size > 1 else rows


ALONE = Group()


def processes() -> int:
    """How many processes share this run, as whoever started them says: torchrun, or Slurm through it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_processes() -> int:
    """How many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", str(processes())))


def is_first_here() -> bool:
    """Whether this is the first of the processes on this machine."""
    return os.environ.get("LOCAL_RANK", os.environ.get("RANK", "0")) == "0"


def join_group(backend: str) -> Group:
    """Meet the other processes, if there are any.

    Parameters
    ----------
    backend : str
        torch's word for how: "gloo" between processors, "cpu:gloo,cuda:nccl" between GPUs.

    Raises
    ------
    RunError
        They do not answer.
    """
    if processes() == 1:
        return Group()
    if not distributed.is_initialized():
        with _others():
            distributed.init_process_group(backend, timeout=_PATIENCE)
    return Group(distributed.get_rank(), distributed.get_world_size())


def leave_group() -> None:
    """Part from the other processes; there are no sums over all of them any more."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def first_to_speak() -> bool:
    """Whether no other process of this run has had something to say: one sentence ends a job, not many.

    Asks the launcher's store, which outlives the processes; where there is none, everybody speaks.
    """
    if processes() == 1:
        return True
    host, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "0")
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    try:
        store = distributed.TCPStore(host, int(port), is_master=False, timeout=_NEWS_PATIENCE)
        key = f"nunatak/spoken/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        return bool(store.add(key, 1) == 1)
    except (RuntimeError, ValueError):
        return True


@contextmanager
def _others() -> Iterator[None]:
    """A meeting with the other processes; one that does not come is a sentence."""
    try:
        yield
    except RuntimeError as error:
        raise RunError(
            "Another process of this run was lost; `nunatak resume RUN` goes on from the last checkpoint, "
            "with as many processes as you like."
        ) from error


def _real(tensor: Tensor) -> Tensor:
    """The same memory as real numbers: not every transport knows complex ones."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _packed(numbers: list[Any], like: list[Tensor]) -> Tensor:
    """Numbers as a float64 tensor where the tensors are; whole numbers up to 2^53 stay exact."""
    return torch.tensor(numbers, dtype=torch.float64, device=like[0].device if like else CPU)


def _is_number(leaf: Any, kinds: Any) -> bool:
    return isinstance(leaf, kinds) and not isinstance(leaf, bool)


def _leaves(tree: Any, kinds: Any) -> Iterator[Any]:
    """Tensors and numbers of some kinds, in order, of a tree of dataclasses, tuples and dictionaries."""
    if isinstance(tree, Tensor) or _is_number(tree, kinds):
        yield tree
    elif is_dataclass(tree) and not isinstance(tree, type):
        for field in fields(tree):
            yield from _leaves(getattr(tree, field.name), kinds)
    elif isinstance(tree, tuple | dict):
        for item in tree.values() if isinstance(tree, dict) else tree:
            yield from _leaves(item, kinds)


def _rebuilt(tree: Any, tensors: Iterator[Tensor], numbers: Iterator[float] | None, kinds: Any) -> Any:
    """The same tree with other tensors and, where there are any, other numbers."""
    if isinstance(tree, Tensor):
        return next(tensors)
    if _is_number(tree, kinds):
        return tree if numbers is None else type(tree)(next(numbers))
    if is_dataclass(tree) and not isinstance(tree, type):
        changed = {f.name: _rebuilt(getattr(tree, f.name), tensors, numbers, kinds) for f in fields(tree)}
        return replace(tree, **changed)
    if isinstance(tree, tuple):
        return tuple(_rebuilt(item, tensors, numbers, kinds) for item in tree)
    if isinstance(tree, dict):
        return {name: _rebuilt(item, tensors, numbers, kinds) for name, item in tree.items()}
    return tree

"""One command in several processes (torchrun): which commands may, who speaks, and how a lost one ends it."""

from __future__ import annotations

import os
import signal
import sys
import threading

from nunatak.core.errors import InputError

SHARED = {"abinit", "reconstruct", "heterogeneity", "resume"}
"""Commands whose images several processes can share."""


def is_shared() -> bool:
    """Whether a launcher started this command in several processes."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def is_first() -> bool:
    """Whether this is the process that shows progress and results."""
    return os.environ.get("RANK", "0") == "0"


def may_speak() -> bool:
    """Whether no other process has said how the command ended."""
    if not is_shared():
        return True
    from nunatak.core.collective import first_to_speak

    return first_to_speak()


def begin(command: str) -> None:
    """What a process does first when it is one of several; nothing when it is alone.

    Raises
    ------
    InputError
        The command cannot be shared.
    """
    if not is_shared():
        return
    if command not in SHARED:
        raise InputError(
            f"`nunatak {command}` computes in one process: start it without torchrun; "
            f"{', '.join(sorted(SHARED))} can be shared."
        )
    # The launcher ends the others with SIGTERM when one is lost, and may do so while they compute or wait in
    # compiled code: a thread of its own still answers. Every later thread inherits the mask.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_await_end, args=(command,), daemon=True).start()


def end() -> None:
    """What a process does last when all went well and it is one of several."""
    if is_shared():
        from nunatak.core.collective import leave_group

        leave_group()


def _await_end(command: str) -> None:
    signal.sigwait({signal.SIGTERM})
    if may_speak():
        print(
            f"nunatak {command}: stopped, because another process was lost or the job was told to end; "
            "`nunatak resume RUN` goes on from the last checkpoint, with as many processes as you like.",
            file=sys.stderr,
            flush=True,
        )
    os._exit(128 + signal.SIGTERM)

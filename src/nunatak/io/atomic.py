"""Files that are either whole or not there: written beside their place, then moved into it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path in the same folder, moved onto `path` when the block ends well, removed when it fails.

    The folder is made if it is missing. The data reaches the disk before the name changes, so that a power
    cut leaves the old file or the new one, never half of one.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _flush_to_disk(temporary)
        # mkstemp makes files private; others may read our results as they may any file of the user's.
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, content: Any) -> None:
    """Write JSON atomically; numpy scalars and arrays become numbers and lists, NaN becomes null."""
    write_text(path, json_text(content) + "\n")


def json_text(content: Any) -> str:
    """JSON of a tree; numpy values become numbers and lists, NaN becomes null, paths become text."""
    return json.dumps(_plain(content), indent=2, allow_nan=False)


def write_npy(path: Path | str, array: np.ndarray) -> None:
    """Write a .npy file atomically, without pickles."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, np.asarray(array), allow_pickle=False)


def _flush_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _plain(content: Any) -> Any:
    """The same content in JSON's own types."""
    if isinstance(content, dict):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, np.ndarray):
        return _plain(content.tolist())
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    if isinstance(content, np.generic):
        return _plain(content.item())
    if isinstance(content, float) and not np.isfinite(content):
        return None
    return str(content) if isinstance(content, Path) else content

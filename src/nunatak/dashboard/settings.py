"""What a dashboard was started with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LARGEST_REQUEST_BYTES = 16 * 1024 * 1024
"""A lasso round two million particles fits; a film does not."""


@dataclass(frozen=True)
class Settings:
    """How the dashboard runs.

    Attributes
    ----------
    folders : tuple of Path
        Run folders, or folders that hold run folders.
    home : Path
        Where jobs that are started here get their folders.
    token : str or None
        What writing calls must carry; None refuses all writing.
    hosts : frozenset of str
        Names, without port, under which the dashboard may be called.
    """

    folders: tuple[Path, ...]
    home: Path
    token: str | None = None
    hosts: frozenset[str] = frozenset({"127.0.0.1", "localhost", "[::1]"})

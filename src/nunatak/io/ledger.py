"""What was done already, a line of JSON each, on the disk before the next thing begins."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def add_line(path: Path, record: dict[str, Any]) -> None:
    """Append a record; it is on the disk when this returns."""
    with path.open("a", encoding="utf-8") as stream:
        # A line that a kill has cut short is closed first, so that it spoils no other.
        whole = stream.tell() == 0 or path.read_bytes().endswith(b"\n")
        stream.write(("" if whole else "\n") + json.dumps(record) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole records; none where there is no file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, UnicodeDecodeError):
        return []
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records

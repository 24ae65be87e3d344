"""What is said to be on the disk was sent there whole, and before it got its name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from nunatak.io.atomic import write_json, write_npy, write_text
from nunatak.io.ledger import add_line
from nunatak.io.row_file import RowFile

MOVED = -1


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of every file when it was sent to the disk, and MOVED when one got its name."""
    calls: list[int] = []
    move = os.replace

    def replace(source: str, target: str) -> None:
        calls.append(MOVED)
        move(source, target)

    monkeypatch.setattr("os.fsync", lambda handle: calls.append(os.fstat(handle).st_size))
    monkeypatch.setattr("os.replace", replace)
    return calls


@pytest.mark.parametrize(
    ("write", "content"), [(write_text, "some text"), (write_json, {"a": [1, 2]}), (write_npy, np.eye(3))]
)
def test_a_file_is_on_the_disk_before_it_has_its_name(
    write, content: object, seen: list[int], tmp_path: Path
) -> None:
    target = tmp_path / "file"
    write(target, content)
    assert seen == [target.stat().st_size, MOVED]
    assert seen[0] > 0


def test_a_line_is_on_the_disk_before_the_next(seen: list[int], tmp_path: Path) -> None:
    sizes = []
    for number in range(3):
        add_line(tmp_path / "lines.jsonl", {"number": number})
        sizes.append((tmp_path / "lines.jsonl").stat().st_size)
    assert seen == sizes


def test_rows_are_on_the_disk_before_they_are_counted(seen: list[int], tmp_path: Path) -> None:
    RowFile(tmp_path / "rows", 5, np.dtype(np.float32)).write(2, np.ones((3, 5)))
    assert seen == [(2 + 3) * 5 * 4]

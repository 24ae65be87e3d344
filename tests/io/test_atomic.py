"""A file is the old one or the new one, never half of one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nunatak.io.atomic import atomic_path, write_json, write_npy, write_text


def write_half(target: Path) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("power cut")


def test_failure_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "note.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError, match="power cut"):
        write_half(target)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_folder_is_made_and_others_may_read(tmp_path: Path) -> None:
    target = tmp_path / "run" / "note.txt"
    write_text(target, "text")
    plain = tmp_path / "plain.txt"
    plain.write_text("text")
    assert target.stat().st_mode == plain.stat().st_mode


def test_json_is_plain(tmp_path: Path) -> None:
    write_json(
        tmp_path / "a.json", {"x": np.float32(1.5), "n": np.int64(3), "list": np.arange(2), "bad": np.nan}
    )
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1.5, "n": 3, "list": [0, 1], "bad": None}


def test_npy_round_trip(tmp_path: Path) -> None:
    write_npy(tmp_path / "a.npy", np.eye(2))
    assert np.array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), np.eye(2))

"""Arrays out of pickles: whatever numpy writes comes back, and nothing in a file is ever run."""

from __future__ import annotations

import os
import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest

from nunatak.core.errors import InputError
from nunatak.io.pickled_arrays import read_pickled_arrays

ARRAYS = {
    "float32": np.arange(12, dtype=np.float32).reshape(3, 4),
    "in columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(5, dtype=">i4"),
    "booleans": np.array([True, False]),
    "empty": np.zeros((0, 3)),
    "scalar array": np.array(2.5),
}


def written(path: Path, *contents: object, protocol: int = 4) -> Path:
    with path.open("wb") as stream:
        for content in contents:
            pickle.dump(content, stream, protocol)
    return path


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back(name: str, protocol: int, tmp_path: Path) -> None:
    expected = ARRAYS[name]
    found = read_pickled_arrays(written(tmp_path / "a.pkl", expected, protocol=protocol))
    assert len(found) == 1
    assert np.array_equal(found[0], expected)
    assert found[0].dtype == expected.dtype.newbyteorder("=")


def test_tuples_lists_and_several_objects(tmp_path: Path) -> None:
    shared = np.ones((2, 2))
    content = {"a": [shared, shared], "b": (1, 2.5, "text", None, np.float64(3))}
    found = read_pickled_arrays(written(tmp_path / "a.pkl", content, (shared, np.zeros(3))))
    assert len(found) == 2
    assert np.array_equal(found[0]["a"][1], shared)
    assert found[0]["b"] == (1, 2.5, "text", None, 3.0)
    assert found[1][1].shape == (3,)


class Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path, call: object) -> None:
        self.target, self.call = target, call

    def __reduce__(self) -> tuple:
        return self.call, (f"touch {self.target}",)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("call", [os.system, subprocess.getoutput, eval], ids=lambda call: call.__name__)
def test_code_is_refused_and_not_run(call: object, protocol: int, tmp_path: Path) -> None:
    target = tmp_path / "ran"
    path = written(tmp_path / "a.pkl", (np.ones(3), Runs(target, call)), protocol=protocol)
    with pytest.raises(InputError, match="nothing is run") as refused:
        read_pickled_arrays(path)
    assert "\n" not in str(refused.value)
    assert not target.exists()


HOSTILE = {
    "objects": pickle.dumps(np.array([object], object)),
    "texts": pickle.dumps(np.array(["a", "b"])),
    "a class": pickle.dumps(Path("x")),
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent name": b"Pos.system\n.",
    "no pickle": b"\x93NUMPY and nothing else",
    "cut short": pickle.dumps(np.arange(100.0))[:-40],
    "nothing": b"",
    "no stack": b"\x80\x04R.",
    "memo from nowhere": b"h\x05.",
    "a numpy name that is no maker": b"cnumpy\nsave\n.",
    "a bare name": b"cnumpy\nndarray\n.",
    "shape that does not fit": pickle.dumps(np.arange(4.0)).replace(b"K\x04\x85", b"K\x05\x85"),
    "deep": b"\x80\x02" + b"(" * 3 + b"]" * 1 + b"\x85" * 200 + b".",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_get_one_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(InputError) as refused:
        read_pickled_arrays(path)
    assert "\n" not in str(refused.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_pickled_arrays(tmp_path / "none.pkl")

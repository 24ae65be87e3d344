"""Films of paths as MP4, which the machine's own ffmpeg encodes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from nunatak.core.errors import InputError, RunError
from nunatak.export.movie import write_mp4


def frames(count: int = 6, height: int = 49, width: int = 64) -> list[np.ndarray]:
    """A bright bar that goes from left to right."""
    found = []
    for k in range(count):
        picture = np.full((height, width, 3), 40, np.uint8)
        picture[:, k * 10 : k * 10 + 10] = (250, 120, 60)
        found.append(picture)
    return found


def a_program(folder: Path, text: str) -> None:
    """An `ffmpeg` that is a script."""
    folder.mkdir()
    (folder / "ffmpeg").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "ffmpeg").chmod(0o755)


def test_without_an_encoder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="ffmpeg"):
        write_mp4(tmp_path / "film.mp4", frames())
    assert not list(tmp_path.iterdir())


def test_the_encoder_is_given_every_pixel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A height of 49 is cut to 48: players want even numbers."""
    a_program(tmp_path / "bin", f'echo "$@" > {tmp_path}/words; for last; do :; done; cat > "$last"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    write_mp4(tmp_path / "film.mp4", frames())
    assert "-s 64x48 -r 8.0" in (tmp_path / "words").read_text()
    content = np.frombuffer((tmp_path / "film.mp4").read_bytes(), np.uint8).reshape(6, 48, 64, 3)
    np.testing.assert_array_equal(content, np.stack(frames())[:, :48])


def test_an_encoder_that_fails_leaves_the_film_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_program(tmp_path / "bin", "cat > /dev/null; echo 'no room' >&2; exit 3")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    film = tmp_path / "film.mp4"
    film.write_bytes(b"before")
    with pytest.raises(RunError, match="no room"):
        write_mp4(film, frames())
    assert film.read_bytes() == b"before"
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "film.mp4"}


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg on this machine")
def test_a_film_that_is_one(tmp_path: Path) -> None:
    write_mp4(tmp_path / "film.mp4", frames())
    back = ["ffmpeg", "-loglevel", "error", "-i", str(tmp_path / "film.mp4")]
    raw = subprocess.run([*back, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
    found = np.frombuffer(raw.stdout, np.uint8).reshape(-1, 48, 64, 3).astype(int)
    assert len(found) == 6
    assert np.median(np.abs(found - np.stack(frames())[:, :48])) < 8

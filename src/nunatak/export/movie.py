"""Films of maps along a path, rendered by our own renderer: animated GIF, or MP4 where there is an ffmpeg.

Encoders of MP4 that pip installs carry GPL code, so none is among our requirements: the machine's own ffmpeg
is run as a program. The ChimeraX script of nunatak.export.chimerax records an MP4 as well.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nunatak.core.errors import RunError, require
from nunatak.export.views import render_states
from nunatak.io.atomic import atomic_path

PAPER = (251, 252, 253)
Picture = NDArray[np.uint8]


def path_frames(
    volumes: Sequence[NDArray], size_px: int = 320, between: int = 1, level: float | None = None
) -> list[Picture]:
    """(h, w, 3) uint8 pictures of maps along a path, forth and back, on one level, scale and side.

    Parameters
    ----------
    volumes : sequence of (d, d, d)
    between : int
        Maps interpolated linearly between each two, which is exact where the model is linear along them.
    level : float, optional
        Contour level; chosen from the mean map by default.

    Raises
    ------
    InputError
        There are fewer than two maps, or nothing in them lies above the level.
    """
    require(len(volumes) > 1, "A film needs at least two maps.")
    states = _in_between([np.asarray(volume, np.float32) for volume in volumes], between)
    pictures = render_states(states, level, size_px)
    require(bool(pictures), "No map has a surface at this level: nothing can be shown.")
    forth = [_on_paper(picture) for picture in pictures]
    return [*forth, *forth[-2:0:-1]]


def write_gif(path: Path | str, frames: Sequence[Picture], frames_per_s: float = 8.0) -> None:
    """Write (h, w, 3) uint8 pictures of one size as a looping GIF, atomically, with one palette."""
    wide = Image.fromarray(np.concatenate(frames[:: max(1, len(frames) // 6)], axis=1))
    palette = wide.quantize(255, method=Image.Quantize.MEDIANCUT)
    shown = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    with atomic_path(path) as temporary:
        shown[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=shown[1:],
            duration=round(1000 / frames_per_s),
            loop=0,
            disposal=1,
        )


def find_encoder() -> str:
    """Path of the ffmpeg that this machine has.

    Raises
    ------
    InputError
        It has none.
    """
    found = shutil.which("ffmpeg")
    require(
        found is not None,
        "An MP4 needs the program ffmpeg, which is not on the PATH: install it (on Debian: apt-get install "
        "ffmpeg), or export a GIF with --what movie.",
    )
    return str(found)


def write_mp4(path: Path | str, frames: Sequence[Picture], frames_per_s: float = 8.0) -> None:
    """Write (h, w, 3) uint8 pictures of one size as an MP4 that every player opens, atomically.

    Raises
    ------
    InputError
        There is no ffmpeg on this machine.
    RunError
        It fails.
    """
    encoder = find_encoder()
    height, width = frames[0].shape[0] // 2 * 2, frames[0].shape[1] // 2 * 2  # as yuv420p wants them
    content = np.stack([frame[:height, :width] for frame in frames]).tobytes()
    given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{frames_per_s}"]
    with atomic_path(path) as temporary:
        wanted = ["-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4", str(temporary)]
        command = [encoder, "-y", "-loglevel", "error", *given, "-i", "-", *wanted]
        done = subprocess.run(command, input=content, capture_output=True)
        if done.returncode:
            said = " ".join(done.stderr.decode(errors="replace").split())
            raise RunError(f"ffmpeg could not write {path} ({said[:300]}).")


def _in_between(volumes: list[NDArray], between: int) -> list[NDArray]:
    shares = np.arange(between + 1) / (between + 1)
    found = [(1 - s) * a + s * b for a, b in pairwise(volumes) for s in shares]
    return [*found, volumes[-1]]


def _on_paper(picture: Picture) -> Picture:
    """RGBA on a light ground."""
    opacity = picture[..., 3:].astype(np.float32) / 255
    mixed = picture[..., :3] * opacity + np.array(PAPER, np.float32) * (1 - opacity)
    return mixed.round().astype(np.uint8)

"""Calling the command line, in this process or in one of its own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import starfile

from nunatak.cli.main import main

# A shell that starts the tests behind `&` lets them and their children ignore Ctrl-C.
_HEEDFUL = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
PROGRAM = [sys.executable, "-c", f"{_HEEDFUL}; from nunatak.cli.main import main; main()"]
TINY = [
    *("--restarts=1", "--start-updates=6", "--refine-passes=2"),
    *("--grow-passes=2", "--joint-passes=2", "--threads=1", "--healpix-order=1"),
    *("--shift-extent-px=1.5", "--radius-start-px=6", "--radius-end-px=8"),
]
"""Options with which an engine run takes seconds; what it finds is of no account."""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    def is_refused(self) -> bool:
        """Bad input: exit status 2 and one sentence on standard error, nothing else."""
        lines = self.err.strip().splitlines()
        return (
            self.status == 2
            and not self.out
            and len(lines) == 1
            and lines[0].rstrip().endswith((".", "?", "`."))
        )


def call(*words: object) -> Done:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    status: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(word) for word in words])
        except SystemExit as stop:
            status = stop.code
    return Done(int(status or 0), out.getvalue(), err.getvalue())


def succeed(*words: object) -> Done:
    """Run a command that must succeed."""
    done = call(*words)
    assert done.status == 0, f"nunatak {' '.join(map(str, words))}: status {done.status}\n{done.err}"
    return done


def environment() -> dict[str, str]:
    """One thread, as the tests in this process have."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def start(*words: object) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    command = [*PROGRAM, *map(str, words)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )


def particle_lines(run: Path) -> bytes:
    """particles.star without its first line, in which the library that writes it tells the time."""
    first, rest = (run / "particles.star").read_bytes().split(b"\n", 1)
    return rest if first.startswith(b"# Created by") else first + b"\n" + rest


def same_results(run: Path, other: Path) -> bool:
    """Whether two run folders hold the same numbers, to the bit."""
    same = particle_lines(run) == particle_lines(other)
    for name in ("latents.npy", "latents_covariance.npy", "mean.mrc", "half1.mrc", "fsc.csv"):
        first, second = (folder / name for folder in (run, other))
        if name.endswith(".mrc"):  # the header tells the time
            same &= first.read_bytes()[1024:] == second.read_bytes()[1024:]
        else:
            same &= first.read_bytes() == second.read_bytes()
    return same


def read_tables(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The optics and the particles of a star file."""
    tables = starfile.read(path, always_dict=True)
    return tables["optics"], tables["particles"]


def write_tables(path: Path, optics: pd.DataFrame, particles: pd.DataFrame) -> Path:
    """A star file of two tables."""
    starfile.write({"optics": optics, "particles": particles}, path, overwrite=True)
    return path


def write_set(folder: Path, images: np.ndarray, like: Path) -> Path:
    """A stack of the given images, and a star file with as many rows of another for it."""
    folder.mkdir(exist_ok=True)
    optics, particles = read_tables(like)
    count, box = len(images), images.shape[-1]
    with (
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
        mrcfile.new(folder / "images.mrcs", overwrite=True) as file,
    ):
        warnings.simplefilter("ignore")  # mrcfile's statistics of pixels that are not finite
        file.set_data(images.astype(np.float32))
        file.set_image_stack()
        file.voxel_size = float(optics["rlnImagePixelSize"][0])
    rows = particles.iloc[np.arange(count) % len(particles)].reset_index(drop=True)
    rows["rlnImageName"] = [f"{i + 1:06d}@images.mrcs" for i in range(count)]
    optics["rlnImageSize"] = box
    return write_tables(folder / "particles.star", optics, rows)


def read_images(path: Path) -> np.ndarray:
    """All images of a stack, or a map."""
    with mrcfile.open(path) as file:
        return np.array(file.data)


def write_cs(path: Path, simulated: Path) -> Path:
    """A simulated set as cryoSPARC would list it, with a field of its own."""
    optics, given = read_tables(simulated / "particles.star")
    fields = [
        *(("uid", "<u8"), ("blob/path", "S200"), ("blob/idx", "<u4"), ("blob/shape", "<u4", (2,))),
        *(("blob/psize_A", "<f4"), ("blob/sign", "<f4"), ("ctf/accel_kv", "<f4"), ("ctf/cs_mm", "<f4")),
        *(("ctf/amp_contrast", "<f4"), ("ctf/df1_A", "<f4"), ("ctf/df2_A", "<f4")),
        *(("ctf/df_angle_rad", "<f4"), ("ctf/phase_shift_rad", "<f4"), ("pick_stats/ncc_score", "<f4")),
    ]
    rows = np.zeros(len(given), fields)
    rows["uid"] = np.arange(len(given)) * 7919 + 10**12
    rows["blob/path"] = str(simulated / "particles.mrcs").encode()
    rows["blob/idx"] = np.arange(len(given))
    rows["blob/shape"], rows["blob/sign"] = optics["rlnImageSize"][0], 1
    rows["blob/psize_A"] = optics["rlnImagePixelSize"][0]
    rows["ctf/accel_kv"], rows["ctf/cs_mm"] = optics["rlnVoltage"][0], optics["rlnSphericalAberration"][0]
    rows["ctf/amp_contrast"] = optics["rlnAmplitudeContrast"][0]
    rows["ctf/df1_A"], rows["ctf/df2_A"] = given["rlnDefocusU"], given["rlnDefocusV"]
    rows["ctf/df_angle_rad"] = np.radians(given["rlnDefocusAngle"])
    rows["pick_stats/ncc_score"] = np.linspace(0, 1, len(given))
    with path.open("wb") as file:
        np.save(file, rows, allow_pickle=False)
    return path

"""Bare image stacks, and text files that list them: images whose optics the caller states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from nunatak.core.errors import require
from nunatak.io.mrc import read_stack_header
from nunatak.io.particle_file import ParticleFile, ReadOptions
from nunatak.io.relion import interpret
from nunatak.io.relion_optics import RelionTables


def read_bare_stack(path: Path | str, options: ReadOptions | None = None) -> ParticleFile:
    """All images of one .mrcs or .mrc file; the pixel size is the given one, else that of its header.

    Raises
    ------
    InputError
        The stack cannot be read, or no pixel size is known.
    """
    path = Path(path).absolute()
    return _from_stacks(path, "image stack", (path,), options or ReadOptions())


def read_stack_list(path: Path | str, options: ReadOptions | None = None) -> ParticleFile:
    """All images of the stacks that a text file lists, one path per line, in that order; # begins a comment.

    Raises
    ------
    InputError
        The list is empty or names a stack that does not exist.
    """
    path, options = Path(path), options or ReadOptions()
    require(path.is_file(), f"{path} does not exist: check the path of the list.")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    names = [text for line in lines if (text := line.split("#", 1)[0].strip())]
    require(bool(names), f"{path} is empty: one path of an image stack per line was expected.")
    roots = [root for root in (options.datadir, path.parent) if root is not None]
    found = [next((p for root in roots if (p := Path(root) / name).is_file()), None) for name in names]
    lost = [name for name, place in zip(names, found, strict=True) if place is None]
    require(
        not lost,
        f"{len(lost)} of the {len(names)} stacks in {path} are missing ({', '.join(lost[:3])}"
        f"{', ...' if len(lost) > 3 else ''}): give their folder as --datadir.",
    )
    return _from_stacks(path, "list of image stacks", tuple(p.absolute() for p in found if p), options)


def _from_stacks(path: Path, kind: str, stacks: tuple[Path, ...], options: ReadOptions) -> ParticleFile:
    headers = [read_stack_header(stack) for stack in stacks]
    names = [f"{i + 1:06d}@{header.path}" for header in headers for i in range(header.count)]
    group = np.repeat(np.arange(1, len(stacks) + 1), [header.count for header in headers])
    rows = pd.DataFrame({"rlnImageName": names, "rlnOpticsGroup": group})
    optics = pd.DataFrame(
        {
            "rlnImagePixelSize": [header.pixel_size_A for header in headers],
            "rlnImageSize": [header.width_px for header in headers],
        }
    )
    numbers, first, merged = np.unique(optics.to_numpy(), axis=0, return_index=True, return_inverse=True)
    # Stacks of one pixel size and box are one optics group, numbered in the order of their first stack.
    rank = np.argsort(np.argsort(first))
    rows["rlnOpticsGroup"] = rank[merged.reshape(-1)][group - 1] + 1
    optics = optics.iloc[np.sort(first)].reset_index(drop=True)
    optics.insert(0, "rlnOpticsGroup", np.arange(1, len(numbers) + 1))
    return interpret(RelionTables(path, kind, rows, optics), options)

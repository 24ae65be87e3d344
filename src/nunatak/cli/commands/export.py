"""`nunatak export`: latents as a table, ChimeraX scripts and films of a finished run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from tyro.conf import Positional

from nunatak.cli.options import CommonOptions, Output, parse, use_machine
from nunatak.cli.results import Result, say
from nunatak.core.errors import require
from nunatak.runs.analysis_config import PATH_NAMES, PathName

Kind = Literal["csv", "chimerax", "movie", "mp4", "npz"]


class Options(CommonOptions):
    """Options of the command."""

    run: Positional[Path] = Field(description="Folder of the run.")
    output: Output = Field(description="Folder to write into.")
    what: tuple[Kind, ...] = Field(
        ("csv", "chimerax", "movie"),
        description="csv: a row of latents, clusters and confidence for each particle; chimerax: maps of a "
        "path with scripts that show and record them; movie: a GIF of that path; mp4: an MP4 of it, which "
        "needs ffmpeg; npz: poses, CTF and latents as cryoDRGN counts them.",
    )
    path: PathName | None = Field(None, description="Path of analyze; the recommended one by default.")
    size_px: int = Field(320, ge=64, le=1200, description="Side of the film.")
    between: int = Field(2, ge=0, le=20, description="Frames between each two maps of the film.")
    level: float | None = Field(None, gt=0, description="Contour level; chosen from the maps by default.")


def run(words: list[str]) -> Result:
    """Run the command; what it found."""
    options = parse(Options, words, "export", "Write what other programs open.")
    from nunatak.export.movie import find_encoder

    use_machine(options)
    require((options.run / "particles.star").exists(), f"{options.run} holds no finished run.")
    written: list[Path] = []
    if "mp4" in options.what:
        find_encoder()  # refused before anything is rendered
    if "csv" in options.what:
        written.append(_table(options))
    if "npz" in options.what:
        written.append(_arrays(options))
    if {"chimerax", "movie", "mp4"} & set(options.what):
        written += _path(options)
    return Result({"folder": options.output, "files": written}, [f"{path}" for path in written])


def _table(options: Options) -> Path:
    from nunatak.export.tables import particle_table, write_csv

    out = options.output / "particles.csv"
    write_csv(out, particle_table(options.run))
    return out


def _arrays(options: Options) -> Path:
    import numpy as np

    from nunatak.io.cryodrgn import CryodrgnArrays, cryodrgn_arrays, write_npz
    from nunatak.io.star import read_star

    found = cryodrgn_arrays(read_star(options.run / "particles.star"))
    latents = options.run / "latents.npy"
    stored = np.load(latents, allow_pickle=False) if latents.exists() else None
    out = options.output / "cryodrgn.npz"
    write_npz(out, CryodrgnArrays(found.rotations, found.translations, found.ctf, stored))
    return out


def _path(options: Options) -> list[Path]:
    """The maps of a path with what shows them."""
    import numpy as np

    from nunatak.export.chimerax import movie_script, view_script
    from nunatak.export.movie import path_frames, write_gif, write_mp4
    from nunatak.export.surface import surface_level
    from nunatak.io.atomic import write_text
    from nunatak.io.mrc import read_map

    name, maps = _maps_of(options)
    volumes = [read_map(path)[0] for path in maps]
    level = options.level or surface_level(np.mean(volumes, axis=0))
    out, written = options.output, []
    if "chimerax" in options.what:
        (out / "maps").mkdir(parents=True, exist_ok=True)
        for path in maps:
            shutil.copyfile(path, out / "maps" / path.name)
        names = [f"maps/{path.name}" for path in maps]
        scripts: dict[str, Any] = {
            f"{name}.cxc": view_script(names, level),
            f"{name}_movie.cxc": movie_script(names, level, f"{name}.mp4"),
        }
        for file, text in scripts.items():
            write_text(out / file, text)
            written.append(out / file)
        written += [out / name for name in names]
    if {"movie", "mp4"} & set(options.what):
        say(f"rendering the {name} path")
        frames = path_frames(volumes, options.size_px, options.between, level)
        for kind, suffix, write in (("movie", ".gif", write_gif), ("mp4", ".mp4", write_mp4)):
            if kind in options.what:
                write(out / f"{name}{suffix}", frames)
                written.append(out / f"{name}{suffix}")
    return written


def _maps_of(options: Options) -> tuple[str, list[Path]]:
    from nunatak.runs.analyze import read_analysis

    found = read_analysis(options.run)
    name = options.path or found.get("recommended_path")
    require(name in PATH_NAMES, f"{options.run} was analysed without paths: analyze it again.")
    maps = sorted((options.run / "analysis" / "maps").glob(f"{name}_[0-9][0-9]*.mrc"))
    require(
        len(maps) > 1, f"{options.run} has no maps along the {name} path: analyze it with --paths {name}."
    )
    return f"{name}", maps

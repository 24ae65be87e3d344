"""`nunatak convert`: poses and CTFs between cryoDRGN, RELION and cryoSPARC."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from tyro.conf import Positional

from nunatak.cli.options import CommonOptions, Output, parse
from nunatak.cli.results import Result


class Options(CommonOptions):
    """Options of the command."""

    source: Positional[Path] = Field(description="A .star, .cs or .csg, or cryoDRGN's .pkl (or our .npz).")
    output: Output = Field(description="A .star, .cs, .npz or .npy; pickles are never written.")
    particles: Path | None = Field(
        None, description="Particle file (.star, .cs, .mrcs, .txt) that poses from cryoDRGN belong to."
    )
    ctf: Path | None = Field(None, description="cryoDRGN's CTF table that goes with its poses.")
    datadir: Path | None = Field(None, description="Folder in which image paths are looked for first.")
    pixel_size_A: float | None = Field(None, gt=0, description="Pixel size; replaces the file's.")
    box_px: int | None = Field(None, ge=8, description="Box of the images, where no file tells it.")
    passthrough: Path | None = Field(
        None, description="cryoSPARC passthrough .cs, where it does not lie beside."
    )


def run(words: list[str]) -> Result:
    """Run the command; what it found."""
    options = parse(Options, words, "convert", "Convert poses and CTFs between programs.")
    from nunatak.export.convert import Conversion, convert
    from nunatak.io.particle_file import ReadOptions

    read = ReadOptions(options.datadir, options.pixel_size_A, passthrough=options.passthrough)
    wanted = Conversion(options.source, options.output, options.particles, options.ctf, options.box_px, read)
    count, written = convert(wanted)
    said = f"{count:,} particles in {options.output}" + (f" ({', '.join(written)})" if written else "")
    return Result({"particles": count, "file": options.output, "written": written}, [said])

"""What a run was asked to do: everything that config.toml holds, and enough to do it again."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nunatak.core.errors import InputError
from nunatak.particles.precision import Precision
from nunatak.reconstruct.config import EngineConfig

Device = Literal["auto", "cpu", "cuda"]
Command = Literal["abinit", "reconstruct", "heterogeneity"]


class InputConfig(BaseModel):
    """Which particles, and how to understand their file where it does not say so itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    particles: Path = Field(description="A .star, .cs, .mrcs, .mrc, or a .txt list of stacks.")
    datadir: Path | None = Field(None, description="Folder in which image paths are looked for first.")
    passthrough: Path | None = Field(
        None, description="cryoSPARC passthrough .cs, where it does not lie beside."
    )
    pixel_size_A: float | None = Field(None, gt=0, description="Pixel size; replaces the file's.")
    voltage_kV: float | None = Field(None, gt=0, description="Acceleration voltage; replaces the file's.")
    spherical_aberration_mm: float | None = Field(None, ge=0, description="Cs; replaces the file's.")
    amplitude_contrast: float | None = Field(
        None, ge=0, lt=1, description="Amplitude contrast; replaces the file's."
    )
    defocus_A: float | None = Field(None, description="One defocus for all particles, underfocus positive.")
    no_ctf: bool = Field(False, description="Take the images as having no CTF.")


class MemoryConfig(BaseModel):
    """How much memory a run may take, and where the images stay meanwhile."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_limit_GB: float | None = Field(
        None, gt=0, description="Memory of a process, GB, and as much of a GPU; by default what is free."
    )
    cache: Literal["auto", "memory", "disk"] = Field(
        "auto", description="Where the images' samples stay; auto is memory where they fit."
    )
    cache_folder: Path | None = Field(
        None, description="Folder for samples on the disk, kept for other runs; RUN/cache by default."
    )
    cache_precision: Precision = Field(
        "float32", description="Type of samples on the disk; float16 takes half the room."
    )


class JobConfig(BaseModel):
    """One run: the command, its input, where it computes, and the engine's parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: Command = "abinit"
    device: Device = "auto"
    threads: int = Field(0, ge=0, description="Threads; 0 takes all cores.")
    memory: MemoryConfig = MemoryConfig()
    input: InputConfig
    engine: EngineConfig = EngineConfig()


def config_text(job: JobConfig) -> str:
    """config.toml of a job; parameters that are unset are left out."""
    return tomli_w.dumps(_without_none(job.model_dump(mode="json")))


def read_config(path: Path) -> JobConfig:
    """The job that a config.toml describes.

    Raises
    ------
    InputError
        The file is missing or says something unknown.
    """
    try:
        return JobConfig(**tomllib.loads(path.read_text()))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): expected the config.toml of a run."
        ) from error
    except (tomllib.TOMLDecodeError, ValidationError, TypeError) as error:
        raise InputError(f"{path} is not the configuration of a run: {first_problem(error)}") from error


def first_problem(error: Exception) -> str:
    """One sentence from a validation error."""
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "the configuration"
        return f"{place}: {problem['msg']} (got {problem['input']!r})."
    return str(error).splitlines()[0].rstrip(".") + "."


def _without_none(tree: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in tree.items() if value is not None}
    return {key: _without_none(value) if isinstance(value, dict) else value for key, value in kept.items()}

"""From parameter models to command-line options: every option is a field of a model, declared once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nunatak.core.errors import InputError

Model = TypeVar("Model", bound=BaseModel)

Positional = tyro.conf.Positional
Output = Annotated[Path, tyro.conf.arg(aliases=["-o"])]


class MachineOptions(BaseModel):
    """Where to compute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = Field("auto", description="auto, cpu or cuda.")
    threads: int = Field(0, ge=0, description="Threads; 0 takes all cores.")


def parse(model: type[Model], words: list[str], command: str, about: str) -> Model:
    """The options of a command.

    Raises
    ------
    InputError
        A value is out of its range.
    SystemExit
        With status 0 for --help, 2 for unknown or missing options (tyro prints what is wrong).
    """
    try:
        return tyro.cli(
            model,
            args=words,
            prog=f"nunatak {command}",
            description=about,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    except ValidationError as error:
        raise InputError(_problem(error)) from error


def _problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    name = "--" + "-".join(str(part) for part in problem["loc"]).replace("_", "-")
    return f"{name}: {problem['msg']} (got {problem['input']!r})."


def fields_of(values: BaseModel, model: type[Model]) -> Model:
    """A model made of those fields of another that it shares with it."""
    picked: dict[str, Any] = {
        name: getattr(values, name) for name in model.model_fields if hasattr(values, name)
    }
    return model(**picked)


def command_line() -> str:
    """The command as it was typed, for the record."""
    return " ".join(["nunatak", *sys.argv[1:]])

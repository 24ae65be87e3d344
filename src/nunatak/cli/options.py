"""From parameter models to command-line options: every option is a field of a model, declared once."""

from __future__ import annotations

import contextlib
import difflib
import io
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import tyro
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nunatak.core.errors import InputError, require

Model = TypeVar("Model", bound=BaseModel)

Output = Annotated[Path, tyro.conf.arg(aliases=["-o"])]


class MachineOptions(BaseModel):
    """Where to compute and how to answer: options of every command."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to compute.")
    threads: int = Field(0, ge=0, description="Threads; 0 takes all cores.")
    json_output: Annotated[bool, tyro.conf.arg(aliases=["--json"])] = Field(
        False, description="Print one JSON object on standard output instead of sentences."
    )


class CommonOptions(MachineOptions):
    """Options of every command that does not run the engine."""

    seed: int = Field(0, ge=0, description="Seed of every random choice.")


def parse(
    model: type[Model], words: list[str], command: str, about: str, default: Model | None = None
) -> Model:
    """The options of a command.

    Parameters
    ----------
    default : model, optional
        What options that are not given are taken from.

    Raises
    ------
    InputError
        An option is unknown, missing, or out of its range.
    SystemExit
        With status 0, after --help was printed.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                model,
                args=words,
                prog=f"nunatak {command}",
                description=about,
                default=cast(Model, default),
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except ValidationError as error:
        raise InputError(option_problem(error)) from error
    except SystemExit as stop:
        if not stop.code:
            raise
        cause = stop.__context__
        if isinstance(cause, ValidationError):
            raise InputError(option_problem(cause)) from cause
        raise InputError(_sentence(complaint.getvalue(), model, command)) from None


def option_problem(error: ValidationError) -> str:
    """The first problem of a model as one sentence about an option."""
    problem, *others = error.errors()
    # An option that takes a word or a number has a problem with each; the last part of the place is the kind.
    kinds = [other for other in others if other["loc"][:-1] == problem["loc"][:-1] != ()]
    place = problem["loc"][:-1] if kinds else problem["loc"]
    name = "--" + "-".join(str(part) for part in place).replace("_", "-")
    expected = problem["msg"].removeprefix("Input ").removeprefix("Value error, ")
    expected += "".join(" or " + kind["msg"].removeprefix("Input should be ") for kind in kinds)
    return f"{name} {expected} (got {problem['input']!r})."


def _sentence(box: str, model: type[BaseModel], command: str) -> str:
    """What tyro says in a box of several lines, as one sentence."""
    said = _content(box)
    if not said:
        return f"The options cannot be understood; see `nunatak {command} --help`."
    if said[0].strip().startswith("Missing from"):
        # Names are indented by four more than the heading, their descriptions by eight.
        names = [line.strip() for line in said[1:] if len(line) - len(line.lstrip()) == 5]
        return f"{' and '.join(names)} must be given; see `nunatak {command} --help`."
    text = " ".join(line.strip() for line in said).replace("Error parsing ", "")
    text = text.partition("Got errors:")[0].rstrip()
    return f"{text.rstrip('.')}{_nearest(text, model)}; see `nunatak {command} --help`."


def _content(box: str) -> list[str]:
    """Lines between a box's title and its next rule; without UTF-8 the box is made of hyphens."""
    lines = [line[1:].rstrip(" │") for line in box.splitlines()]
    rules = [i for i, line in enumerate(lines) if line and not line.strip("─- ")] or [0]
    first = 1 if box.startswith("╭") else rules[0] + 1
    return lines[first : next((i for i in rules if i >= first), len(lines) - 1)]


def _nearest(text: str, model: type[BaseModel]) -> str:
    """' (is X meant?)' where an unknown option is nearly a known one."""
    known = ["--" + name.replace("_", "-") for name in model.model_fields]
    unknown = [word.strip(",") for word in text.split() if word.startswith("--")]
    if not text.startswith("Unrecognized") or not unknown:
        return ""
    near = difflib.get_close_matches(unknown[0], known, 1)
    return f" (is {near[0]} meant?)" if near else ""


def whole_numbers(text: str, option: str) -> tuple[int, ...]:
    """The numbers of an option such as 0,57,99.

    Raises
    ------
    InputError
        They are something else, or none.
    """
    try:
        found = tuple(int(word) for word in text.split(",") if word.strip())
    except ValueError:
        found = ()
    require(bool(found), f"{option} expects whole numbers separated by commas; got '{text}'.")
    return found


def use_machine(options: MachineOptions) -> None:
    """Compute as the options of a command say."""
    from nunatak.runs import machine

    machine.use_machine(options.device, options.threads)


def fields_of(values: BaseModel, model: type[Model]) -> Model:
    """A model made of those fields of another that it shares with it."""
    picked: dict[str, Any] = {
        name: getattr(values, name) for name in model.model_fields if hasattr(values, name)
    }
    return model(**picked)


def command_line() -> str:
    """The command as it was typed, for the record."""
    return " ".join(["nunatak", *sys.argv[1:]])

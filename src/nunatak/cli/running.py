"""What the commands that run the engine share: options to job, job to folder, the last words."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import tyro
from pydantic import Field
from tyro.conf import Positional

from nunatak.cli.options import MachineOptions, Output, command_line, fields_of, parse
from nunatak.core.errors import InputError
from nunatak.reconstruct.config import EngineConfig
from nunatak.runs.job import Command, InputConfig, JobConfig, read_config


class RunOptions(MachineOptions, EngineConfig, InputConfig):
    """Options of a command that runs the engine."""

    particles: Positional[Path] = Field(description="A .star, .cs, .mrcs, .mrc, or a .txt list of stacks.")
    output: Output = Field(description="Folder of the run.")
    config: Path | None = Field(
        None, description="config.toml of a run: what is not given here is taken from it."
    )


def run_job(words: list[str], command: Command, about: str) -> int:
    """Parse, run, write the report, and say how it went."""
    options = parse(RunOptions, words, command, about, _defaults(words, command))
    job = JobConfig(
        command=command,
        device=options.device,
        threads=options.threads,
        input=fields_of(options, InputConfig),
        engine=fields_of(options, EngineConfig),
    )
    execute(job, options.output)
    return 0


def _defaults(words: list[str], command: str) -> RunOptions | None:
    """The options that --config FILE stands for; None where it is not given."""
    path = _config_path(words)
    if path is None:
        return None
    job = read_config(path)
    if job.command != command:
        raise InputError(f"{path} is of `nunatak {job.command}`, not of {command}: use that command.")
    values: dict[str, Any] = {**dict(job.input), **dict(job.engine)}
    return RunOptions.model_construct(
        **values, device=job.device, threads=job.threads, config=path, output=tyro.MISSING
    )


def _config_path(words: list[str]) -> Path | None:
    found = next((word.removeprefix("--config=") for word in words if word.startswith("--config=")), None)
    for word, following in pairwise(words):
        if word == "--config":
            found = following
    return None if found is None else Path(found)


def execute(job: JobConfig, folder: Path, report: bool = True) -> None:
    """Run a job into a folder and, with the report, tell the user the outcome."""
    from nunatak.cli.terminal import TerminalListener
    from nunatak.runs.execute import start_run

    with TerminalListener() as terminal:
        start_run(job, folder, command_line(), [terminal])
    if report:
        conclude(folder)


def conclude(folder: Path) -> None:
    """Write the report page and print the outcome and where everything is."""
    from nunatak.export.report import write_report

    report = write_report(folder)
    summary = json.loads((folder / "summary.json").read_text())
    print(summary["outcome_sentence"])
    for warning in summary["warnings"]:
        print(f"warning: {warning}")
    print(f"report: {report}")

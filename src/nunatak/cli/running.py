"""What the commands that run the engine share: options to job, job to folder, the summary."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import Field
from tyro.conf import Positional

from nunatak.cli.options import MachineOptions, Output, command_line, fields_of, parse
from nunatak.cli.results import Result
from nunatak.cli.together import is_first
from nunatak.core.errors import InputError
from nunatak.reconstruct.config import EngineConfig
from nunatak.runs.job import Command, InputConfig, JobConfig, MemoryConfig, read_config


class RunOptions(MachineOptions, MemoryConfig, EngineConfig, InputConfig):
    """Options of a command that runs the engine."""

    particles: Positional[Path] = Field(description="A .star, .cs, .mrcs, .mrc, or a .txt list of stacks.")
    output: Output = Field(description="Folder of the run.")
    config: Path | None = Field(
        None, description="config.toml of a run: what is not given here is taken from it."
    )
    memory_limit_GB: Annotated[float | None, tyro.conf.arg(aliases=["--memory-limit"])] = Field(
        None, gt=0, description=MemoryConfig.model_fields["memory_limit_GB"].description
    )


def run_job(words: list[str], command: Command, about: str) -> Result | None:
    """Parse, run, write the report; how it went."""
    options = parse(RunOptions, words, command, about, _defaults(words, command))
    engine = fields_of(options, EngineConfig)
    if command == "reconstruct" and engine.counts_latents:
        # One map is what the command is for; latents are there for the asking.
        engine = engine.model_copy(update={"latent_dim": 0})
    job = JobConfig(
        command=command,
        device=options.device,
        threads=options.threads,
        memory=fields_of(options, MemoryConfig),
        input=fields_of(options, InputConfig),
        engine=engine,
    )
    execute(job, options.output)
    return conclude(options.output) if is_first() else None


def _defaults(words: list[str], command: str) -> RunOptions | None:
    """The options that --config FILE stands for; None where it is not given."""
    path = _config_path(words)
    if path is None:
        return None
    job = read_config(path)
    if job.command != command:
        raise InputError(f"{path} is of `nunatak {job.command}`, not of {command}: use that command.")
    values: dict[str, Any] = {**dict(job.memory), **dict(job.input), **dict(job.engine)}
    return RunOptions.model_construct(
        **values, device=job.device, threads=job.threads, config=path, output=tyro.MISSING
    )


def _config_path(words: list[str]) -> Path | None:
    found = next((word.removeprefix("--config=") for word in words if word.startswith("--config=")), None)
    for word, following in pairwise(words):
        if word == "--config":
            found = following
    return None if found is None else Path(found)


def execute(job: JobConfig, folder: Path) -> None:
    """Run a job into a folder, telling the terminal how it goes."""
    from nunatak.cli.terminal import TerminalListener
    from nunatak.runs.execute import start_run

    with TerminalListener() as terminal:
        start_run(job, folder, command_line(), [terminal], terminal.say)


def conclude(folder: Path) -> Result:
    """Write the report page; the run's summary, and its outcome in words."""
    from nunatak.export.report import write_report

    report = write_report(folder)
    summary = json.loads((folder / "summary.json").read_text())
    sentences = [summary["outcome_sentence"], *(f"warning: {warning}" for warning in summary["warnings"])]
    expected_MB = summary.get("predicted_memory_MB")
    if expected_MB:
        taken_GB, expected_GB = summary["peak_memory_MB"] / 1e3, expected_MB / 1e3
        gpu_MB = summary.get("peak_gpu_memory_MB")
        beside = f", and {gpu_MB / 1e3:.2f} GB of the GPU" if gpu_MB else ""
        sentences.append(
            f"memory: {taken_GB:.2f} GB were taken, at most {expected_GB:.2f} GB expected{beside}"
        )
    return Result({**summary, "run": folder, "report": report}, [*sentences, f"report: {report}"])

"""What the commands that run the engine share: options to job, job to folder, the last lines on the screen."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from nunatak.cli.options import MachineOptions, Output, Positional, command_line, fields_of, parse
from nunatak.reconstruct.config import EngineConfig
from nunatak.runs.job import InputConfig, JobConfig


class RunOptions(MachineOptions, EngineConfig, InputConfig):
    """Options of a command that runs the engine."""

    particles: Positional[Path] = Field(description="A .star, .cs, .mrcs, .mrc, or a .txt list of stacks.")
    output: Output = Field(description="Folder of the run.")


def run_job(words: list[str], command: str, about: str) -> int:
    """Parse, run, write the report, and say how it went."""
    options = parse(RunOptions, words, command, about)
    job = JobConfig(
        command=command,
        device=options.device,
        threads=options.threads,
        input=fields_of(options, InputConfig),
        engine=fields_of(options, EngineConfig),
    )
    execute(job, options.output)
    return 0


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
    import json

    from nunatak.export.report import write_report

    report = write_report(folder)
    summary = json.loads((folder / "summary.json").read_text())
    print(summary["outcome_sentence"])
    for warning in summary["warnings"]:
        print(f"warning: {warning}")
    print(f"report: {report}")

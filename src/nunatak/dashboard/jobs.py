"""Jobs that are started from the browser: the terminal's commands, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from nunatak.core.errors import InputError, require
from nunatak.dashboard.run_library import require_name
from nunatak.runs.job import InputConfig, JobConfig
from nunatak.runs.limits import require_free

MOST_JOBS = 4
LOG = "job.log"


@dataclass(frozen=True)
class StartedJob:
    """A job of this dashboard.

    Attributes
    ----------
    folder : Path
        Of its run.
    process : Popen
    """

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def state(self) -> str:
        """running, done, or failed."""
        status = self.process.poll()
        return "running" if status is None else "done" if status == 0 else "failed"

    @property
    def last_words(self) -> str:
        """Last line that the command printed."""
        try:
            lines = (self.folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def job_arguments(job: JobConfig, folder: Path) -> list[str]:
    """Arguments of `nunatak` that stand for a job: what has its default is left out.

    Every value is bound to its option by `=`, so that none can be taken for an option.
    """
    words = [job.command, str(job.input.particles.absolute()), f"--output={folder}"]
    for model, default in (
        (job.engine, type(job.engine)()),
        (job.input, InputConfig(particles=job.input.particles)),
    ):
        words += _changed(model, default)
    words += [f"--device={job.device}"] if job.device != "auto" else []
    return words + ([f"--threads={job.threads}"] if job.threads else [])


def _changed(model: BaseModel, default: BaseModel) -> list[str]:
    words = []
    for name in type(model).model_fields:
        value: Any = getattr(model, name)
        if value == getattr(default, name):
            continue
        option = "--" + name.replace("_", "-")
        words.append(option if value is True else f"{option}={value}")
    return words


class JobDesk:
    """Starts jobs below one folder and remembers them; they outlive the dashboard."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._jobs: dict[str, StartedJob] = {}

    def jobs(self) -> dict[str, StartedJob]:
        """The jobs of this dashboard by name."""
        return dict(self._jobs)

    def start(self, name: str, job: JobConfig) -> StartedJob:
        """Start a job into HOME/NAME.

        Raises
        ------
        InputError
            The name is not safe or taken, the particle file is missing, or too many jobs are going on.
        """
        folder = self._home / require_name(name, "a run")
        require_free(folder)
        if folder.exists() and any(folder.iterdir()):
            raise InputError(f"{folder} is not empty: choose another name.")
        particles = job.input.particles
        require(particles.is_file(), f"{particles} is no file: a particle file was expected.")
        going = sum(one.state == "running" for one in self._jobs.values())
        require(going < MOST_JOBS, f"{going} jobs are going on: wait until one has ended.")
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOG).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "nunatak", *job_arguments(job, folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._jobs[name] = StartedJob(folder, process)
        return self._jobs[name]

    def stop(self, name: str) -> StartedJob:
        """Ask a job to stop, as Ctrl-C does: it can be resumed from its last checkpoint.

        Raises
        ------
        InputError
            This dashboard has started no such job.
        """
        require(name in self._jobs, "This dashboard has started no job of that name.")
        job = self._jobs[name]
        if job.process.poll() is None:
            job.process.terminate()
        return job

"""Jobs that are started from the browser: the terminal's commands, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Literal

from pydantic import BaseModel

from nunatak.core.errors import InputError, require
from nunatak.dashboard.run_library import require_name
from nunatak.runs.job import InputConfig, JobConfig, MemoryConfig
from nunatak.runs.limits import require_free
from nunatak.runs.progress import RunProgress, read_progress

MOST_JOBS = 4
LOG = "job.log"
JobState = Literal["running", "done", "stopped", "failed"]


@dataclass(frozen=True)
class StartedJob:
    """A job of this dashboard.

    Attributes
    ----------
    folder : Path
        Of its run.
    process : Popen
    asked_to_stop : bool
        By this dashboard.
    """

    folder: Path
    process: subprocess.Popen[bytes]
    asked_to_stop: bool = False

    @property
    def state(self) -> JobState:
        """running, done, stopped (it was asked to), or failed."""
        status = self.process.poll()
        if status is None:
            return "running"
        return "done" if status == 0 else "stopped" if self.asked_to_stop else "failed"

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
        (job.memory, MemoryConfig()),
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
    """Starts jobs below one folder, goes on with runs that stopped, and remembers them; they outlive it."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._jobs: dict[str, StartedJob] = {}
        # Calls come from several threads: two of them must not start one run twice.
        self._starting = Lock()

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
        with self._starting:
            require_free(folder)
            if folder.exists() and any(folder.iterdir()):
                raise InputError(f"{folder} is not empty: choose another name.")
            particles = job.input.particles
            require(particles.is_file(), f"{particles} is no file: a particle file was expected.")
            self._require_room()
            folder.mkdir(parents=True, exist_ok=True)
            self._jobs[name] = StartedJob(folder, _process(job_arguments(job, folder), folder))
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
            self._jobs[name] = replace(job, asked_to_stop=True)
        return self._jobs[name]

    def resume(self, run: str, folder: Path) -> str:
        """Go on with a run that stopped, as `nunatak resume` does; the name of the job.

        Parameters
        ----------
        run : str
            What a run that was not started here is called among the jobs.
        folder : Path
            Of the run.

        Raises
        ------
        InputError
            The run has ended, seems to be going on, or cannot be read; or too many jobs are going on.
        """
        folder = folder.absolute()
        with self._starting:
            refusal = self.refusal(folder, read_progress(folder))
            require(refusal is None, refusal or "")
            self._require_room()
            known = self._name_of(folder)
            name = known or next(one for one in _numbered(run, len(self._jobs)) if one not in self._jobs)
            self._jobs[name] = StartedJob(folder, _process(["resume", str(folder)], folder))
        return name

    def refusal(self, folder: Path, progress: RunProgress) -> str | None:
        """Why a run cannot be gone on with, as a sentence; None where it can.

        Of a run that was started elsewhere it is not known whether its process lives, only when it last
        wrote something: two processes in one folder would spoil it.
        """
        if progress.phase == "finished":
            return "This run has ended: there is nothing to go on with."
        if not (folder / "config.toml").is_file():
            return "This folder holds no run to go on with: its config.toml is missing."
        name = self._name_of(folder)
        going = progress.phase == "running" if name is None else self._jobs[name].state == "running"
        if going:
            return "This run seems to be going on: wait until it has ended, or has written nothing for long."
        return None

    def has_ended(self, folder: Path) -> bool:
        """Whether the run's process is known here and has ended."""
        name = self._name_of(folder)
        return name is not None and self._jobs[name].state != "running"

    def _name_of(self, folder: Path) -> str | None:
        same = (name for name, job in self._jobs.items() if job.folder.absolute() == folder.absolute())
        return next(same, None)

    def _require_room(self) -> None:
        going = sum(one.state == "running" for one in self._jobs.values())
        require(going < MOST_JOBS, f"{going} jobs are going on: wait until one has ended.")


def _numbered(name: str, taken: int) -> list[str]:
    """More names than are taken."""
    return [name, *(f"{name}-{number}" for number in range(2, taken + 3))]


def _process(arguments: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    """`nunatak` with these arguments; what it prints goes to the folder's log."""
    with _open_log(folder / LOG) as log:
        return subprocess.Popen(
            [sys.executable, "-m", "nunatak", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _open_log(path: Path) -> BinaryIO:
    """The log, to write at its end; a link is not followed, since a run may come from somebody else."""
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}): a plain file was expected."
        ) from error
    return os.fdopen(number, "ab")

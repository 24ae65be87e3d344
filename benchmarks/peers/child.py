"""Start another program, watch it, stop it at a time limit; and say on what machine that was."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Finished:
    """How a child ended.

    Attributes
    ----------
    exit_status : int or None
        None when it was stopped at the time limit.
    wall_s : float
    """

    exit_status: int | None
    wall_s: float


def run_watched(
    command: list[str],
    log: Path,
    time_limit_s: float,
    threads: int,
    watch: Callable[[float], bool] = lambda elapsed_s: False,
    directory: Path | None = None,
) -> Finished:
    """Run a command, its output into `log`, until it ends, `watch` returns True, or the time is over.

    The child leads a process group of its own, and only that group is ever stopped.
    """
    environment = os.environ | {
        f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS", "NUMBA")
    }
    start = time.perf_counter()
    with log.open("w") as output:
        child = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=environment,
            start_new_session=True,
        )
        status = None
        try:
            while (status := child.poll()) is None:
                elapsed = time.perf_counter() - start
                if elapsed > time_limit_s or watch(elapsed):
                    break
                time.sleep(0.2)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGTERM)
                try:
                    child.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
    return Finished(status, time.perf_counter() - start)


def tail(log: Path, lines: int = 15) -> str:
    """Last lines of a log, for a message."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def machine(threads: int) -> dict[str, object]:
    """What a figure was measured on."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line for line in information.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": threads,
        "load_average": round(os.getloadavg()[0], 2),
        "date": time.strftime("%Y-%m-%d"),
    }


def report(figures: dict[str, object], output: str | None = None) -> None:
    """Print figures as JSON, and write them to a file where one is named."""
    text = json.dumps(figures, indent=2)
    print(text)
    if output is not None:
        Path(output).write_text(text + "\n")

"""Half a million particles: what an analysis takes. Slow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic_run import write_run

from nunatak.runs.analyze import read_analysis

COUNT, DIMENSIONS = 500_000, 4
MOST_S, MOST_GB = 120, 2.0


@pytest.mark.truth
def test_half_a_million_particles_in_two_minutes_and_two_gigabytes(tmp_path: Path) -> None:
    """Seconds of the processor, so that other work on the machine does not count."""
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(COUNT, DIMENSIONS))
    truth[:, 0] = np.where(generator.random(COUNT) < 0.7, -0.6, 1.4) + 0.3 * truth[:, 0]
    noise = np.array([0.3, 0.7, 1.0, 1.5])
    shrinkage = 1 / (1 + noise**2)
    means = (truth + noise * generator.normal(size=truth.shape)) * shrinkage
    covariances = np.broadcast_to(np.diag(noise**2 * shrinkage), (COUNT, DIMENSIONS, DIMENSIONS))
    run = write_run(tmp_path / "run", means, covariances)
    command = [sys.executable, "-m", "nunatak", "analyze", str(run), "--no-umap", "--threads=1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    seconds, peak_GB = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9
    assert seconds < MOST_S, f"{seconds:.0f} s of the processor"
    assert peak_GB < MOST_GB, f"{peak_GB:.2f} GB"
    told = read_analysis(run)
    assert told["particles"] == COUNT
    assert told["components"]["informed"] >= 2

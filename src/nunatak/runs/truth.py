"""A run's figures against the truth, kept with the run."""

from __future__ import annotations

import json
from pathlib import Path

from nunatak.core.errors import InputError
from nunatak.io.atomic import write_json
from nunatak.metrics.evaluate import Figures, evaluate_run


def add_truth(run_dir: Path, truth_dir: Path) -> Figures:
    """Evaluate a run, maps in volumes/ included, and put the figures into its summary.json under `truth`."""
    path = run_dir / "summary.json"
    try:
        summary = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): expected the folder of a finished run."
        ) from error
    volumes = run_dir / "volumes"
    has_maps = any(volumes.glob("vol_*.mrc"))
    figures = evaluate_run(run_dir, truth_dir, volumes if has_maps else None)
    write_json(path, {**summary, "truth": figures})
    return figures

"""Ab initio heterogeneous reconstruction from cryo-EM particle images.

The front door: names are loaded when they are first used, so that `import nunatak` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_NAMES = {
    "read_particles": "nunatak.particles.reading",
    "Particles": "nunatak.particles.dataset",
    "EngineConfig": "nunatak.reconstruct.config",
    "prepare": "nunatak.reconstruct.prepare",
    "ab_initio": "nunatak.reconstruct.recipes",
    "fixed_poses": "nunatak.reconstruct.recipes",
    "run": "nunatak.reconstruct.loop",
    "Outcome": "nunatak.reconstruct.state",
    "save_run": "nunatak.runs.execute",
    "LatentVolumes": "nunatak.runs.volumes",
    "write_report": "nunatak.export.report",
    "SimulationConfig": "nunatak.simulate.config",
    "simulate_particles": "nunatak.simulate.dataset",
    "write_simulation": "nunatak.simulate.write",
    "evaluate_run": "nunatak.metrics.evaluate",
}

__all__ = ["__version__", *_NAMES]


def __getattr__(name: str) -> Any:
    """Load a public name from the room that defines it."""
    if name not in _NAMES:
        raise AttributeError(f"module 'nunatak' has no attribute '{name}'")
    return getattr(importlib.import_module(_NAMES[name]), name)

"""Regions of a plane of a run as a JSON file: what a lasso in a picture is saved as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nunatak.analysis.regions import inside_polygon
from nunatak.core.errors import InputError, require

LARGEST_BYTES = 4_000_000
SPACES = {"latents": "latents.npy", "components": "analysis/components.npy", "umap": "analysis/umap.npy"}
"""Where the points of each kind of plane lie in a run folder."""


class Lasso(BaseModel):
    """A polygon in a plane: {"space": "umap", "axes": [0, 1], "polygon": [[x, y], ...]}."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: Literal["latents", "components", "umap"] = "latents"
    axes: tuple[int, int] = (0, 1)
    polygon: tuple[tuple[float, float], ...] = Field(min_length=3, max_length=100_000)


def read_lasso(path: Path) -> Lasso:
    """Read a lasso file.

    Raises
    ------
    InputError
        The file is missing, too large, no JSON, or not of this form.
    """
    expected = '{"space": "latents", "axes": [0, 1], "polygon": [[x, y], ...]} was expected'
    try:
        require(path.stat().st_size <= LARGEST_BYTES, f"{path} is too large to be a lasso: {expected}.")
        return Lasso(**json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): {expected}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "lasso"
        raise InputError(f"{path} is no lasso ({place}: {first['msg']}): {expected}.") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is no lasso ({' '.join(str(error).split())[:200]}): {expected}.") from error


def inside_lasso(run_dir: Path, lasso: Lasso) -> NDArray[np.bool_]:
    """(n,) which particles of a run lie inside a lasso.

    Raises
    ------
    InputError
        The run lacks the space or an axis of it.
    """
    points = load_points(run_dir, lasso.space)
    for axis in lasso.axes:
        require(
            0 <= axis < points.shape[1],
            f"The lasso speaks of axis {axis} of the {lasso.space}, which have {points.shape[1]}: 0 to "
            f"{points.shape[1] - 1} were expected.",
        )
    return inside_polygon(points[:, list(lasso.axes)], np.array(lasso.polygon))


def load_points(run_dir: Path, space: str) -> NDArray:
    """(n, k) points of a space of a run.

    Raises
    ------
    InputError
        The file is missing or no two-dimensional array.
    """
    path = run_dir / SPACES[space]
    remedy = "a homogeneous run has no latents" if space == "latents" else "use `nunatak analyze` first"
    require(path.exists(), f"{path} is missing: {remedy}.")
    try:
        points = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}).") from error
    require(points.ndim == 2, f"{path} should have two axes, but its shape is {points.shape}.")
    return points

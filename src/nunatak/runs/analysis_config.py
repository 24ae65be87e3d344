"""Every parameter of the analysis of a finished run, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PathName = Literal["dominant", "component", "straight", "graph", "energy"]
PATH_NAMES: tuple[PathName, ...] = ("dominant", "component", "straight", "graph", "energy")


class AnalysisConfig(BaseModel):
    """How a finished run is analysed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kmeans: int = Field(8, ge=1, description="k-means clusters, each with a representative map.")
    mixture: int = Field(
        0, ge=0, le=50, description="Components of the Gaussian mixture; 0 chooses by the BIC among 1 to 8."
    )
    umap: bool = Field(True, description="Lay the particles out by UMAP.")
    paths: tuple[PathName, ...] = Field(
        PATH_NAMES,
        description="Paths: the curve that explains the particles best, along the first component, straight, "
        "over the graph of nearest neighbours, and of lowest free energy.",
    )
    steps: int = Field(7, ge=2, description="Maps along each path.")
    from_particle: int | None = Field(
        None, ge=0, description="0-based particle where paths begin; by default an end of the longest way."
    )
    to_particle: int | None = Field(None, ge=0, description="0-based particle where paths end.")
    bootstraps: int = Field(24, ge=2, le=500, description="Resamplings behind each error bar.")
    labels: tuple[str, ...] = Field(
        (),
        description="External columns to compare with, FILE[:COLUMN]: a .star, .csv, .npy or .cs with one "
        "row for each particle.",
    )
    blocks: tuple[Path, ...] = Field(
        (),
        description="Masks (.mrc) or atomic models (.pdb, .cif; a block for each chain) in the frame of "
        "mean.mrc, whose occupancy is wanted in each map.",
    )
    level: float | None = Field(
        None, description="Contour level of occupancies; by default half of each block's brightest voxels."
    )
    map_samples: int = Field(40, ge=2, le=500, description="Maps of the landscape of maps.")
    seed: int = Field(0, ge=0, description="Seed of every random choice.")

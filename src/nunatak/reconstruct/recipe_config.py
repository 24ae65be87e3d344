"""Parameters of recipes beside the default engine, under their published names; part of EngineConfig."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from nunatak.search.published import PublishedParameters


class SearchParameters(BaseModel):
    """Pose searches over a grid: exhaustive, branch-and-bound, hierarchical."""

    search_passes: int = Field(4, ge=1, description="Passes of a recipe that searches poses over a grid.")
    search_step_deg: float = Field(
        7.5, gt=0, le=60, description="Step of the exhaustive and of the branch-and-bound grid, degrees."
    )
    frequency_schedule: Literal["linear", "doubling"] | None = Field(
        None, description="How the Fourier radius marches; by default as published for the recipe."
    )
    l_start: int = Field(
        PublishedParameters.l_start,
        ge=1,
        description="Fourier radius at which a search begins, Fourier pixels.",
    )
    l_end: int = Field(
        PublishedParameters.l_end, ge=1, description="Fourier radius at which a search ends, Fourier pixels."
    )
    n_iter: int = Field(
        PublishedParameters.n_iter, ge=0, description="Levels of the hierarchical search after its grid."
    )
    t_extent: float | None = Field(
        None,
        ge=0,
        description="Half width of the hierarchical search's shifts, pixels; by default as published, 20 for "
        "a box of 128 and in proportion.",
    )
    t_n_grid: int = Field(PublishedParameters.t_n_grid, ge=1, description="Its trial shifts along each axis.")
    t_x_shift: float = Field(PublishedParameters.t_x_shift, description="Centre of its shifts in x, pixels.")
    t_y_shift: float = Field(PublishedParameters.t_y_shift, description="Centre of its shifts in y, pixels.")
    no_trans_search_at_pose_search: bool = Field(
        PublishedParameters.no_trans_search_at_pose_search, description="Search rotations only."
    )
    n_kept_poses: int = Field(
        PublishedParameters.n_kept_poses, ge=1, description="Poses that the hierarchical search keeps."
    )
    base_healpy: int = Field(
        PublishedParameters.base_healpy, ge=1, le=3, description="HEALPix order of its coarse grid."
    )


class MixtureParameters(BaseModel):
    """Multi-class expectation-maximisation, and variability about given poses."""

    classes: int = Field(4, ge=1, le=1000, description="Classes of the recipe multiclass.")
    variability_passes: int = Field(20, ge=1, description="Passes of 3D variability analysis.")
    class_passes: int = Field(12, ge=1, description="Passes of multi-class expectation-maximisation.")
    adaptive_fraction: float = Field(
        0.999, gt=0, le=1, description="Posterior mass of the coarse poses that are oversampled."
    )


class RecipeParameters(SearchParameters, MixtureParameters):
    """All of them."""

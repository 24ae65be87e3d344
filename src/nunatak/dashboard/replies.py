"""The API's typed requests and replies: what /openapi.json describes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from nunatak.runs.job import JobConfig


class Reply(BaseModel):
    """Base of all replies."""

    model_config = ConfigDict(frozen=True)


class About(Reply):
    """The dashboard itself."""

    version: str
    writing: bool = Field(description="Whether calls that carry the token may write.")
    home: str = Field(description="Folder in which jobs that are started here get their runs.")


class RunCard(Reply):
    """A run in the list."""

    id: str = Field(description="Names the run in every other call.")
    folder: str
    phase: Literal["finished", "running", "silent", "empty"] = Field(
        description="silent: nothing was written for long, so it has probably stopped."
    )
    sentence: str = Field(description="Its outcome, or what it is doing, in words.")
    particles: int | None = None
    latent_dim: int | None = None
    resolution_A: float | None = None


class Curve(Reply):
    """Half-map correlation by shell."""

    resolution_A: list[float]
    fsc: list[float]


class Progress(Reply):
    """Where a run stands; ask every few seconds."""

    phase: Literal["finished", "running", "silent", "empty"]
    stage: str | None = Field(description="What is being done.")
    stages: list[str] = Field(description="All stages, in order.")
    stage_number: int
    passes: int = Field(description="Done in this stage.")
    pass_limit: int
    fraction: float = Field(description="Of the whole run's expected cost, 0 to 1.")
    elapsed_s: float
    left_s: float | None = Field(description="Seconds left at the pace so far.")
    silent_s: float | None = Field(description="Seconds since the run last wrote something.")
    history: list[dict[str, Any]] = Field(
        description="One record per pass: time_s, stage, and what the stage measures (log_evidence, "
        "resolution_A, pose_change_deg, radius_px, restart, ...)."
    )
    fsc: Curve | None
    map_stamp: str = Field(description="Changes when there is a newer map.")
    resumable: bool = Field(description="Whether the run has stopped and can be resumed here.")


class Details(Reply):
    """Parameters and provenance."""

    summary: dict[str, Any] = Field(description="summary.json; empty before the run ends.")
    parameters: dict[str, Any] = Field(description="config.toml.")
    command: str
    folder: str
    files: list[str] = Field(description="Files that can be downloaded.")


class ColumnInfo(Reply):
    """A number, or a category, that every particle has."""

    name: str
    title: str
    low: float
    high: float
    labels: list[str] = Field(description="Names of the categories 0, 1, ...; empty for a scale.")


class ParticleInfo(Reply):
    """All that is known about one particle."""

    row: int
    latent: list[float]
    values: dict[str, str] = Field(description="Every column by its title.")


class Columns(Reply):
    """What every particle has."""

    count: int
    latent_dim: int
    has_views: bool
    stamp: str = Field(description="Changes when the run has newer values.")
    columns: list[ColumnInfo]


class Rows(BaseModel):
    """Particles by their 0-based rows in the run."""

    model_config = ConfigDict(extra="forbid")

    rows: list[int] = Field(description="In any order; they are written in the run's.")


class SelectionInfo(Reply):
    """A saved selection."""

    name: str
    count: int
    path: str


class PathRequest(BaseModel):
    """A way through the latent space."""

    model_config = ConfigDict(extra="forbid")

    points: list[list[float]] = Field(
        max_length=64,
        description="Positions it passes; none for the whole length of the dominant motion.",
    )
    steps: int = Field(12, ge=2, le=200, description="Positions to return, evenly spaced along it.")
    through_particles: bool = Field(
        False, description="Bend it so that it goes where particles are (nearest-neighbour graph)."
    )


class PathReply(Reply):
    """Positions along a way, and how well the particles support them."""

    positions: list[list[float]]
    support: list[float] = Field(
        description="About 1 where particles are as dense as at a typical particle, towards 0 in gaps."
    )
    warning: str | None = Field(description="A sentence where the data do not support it.")


class Comparison(Reply):
    """Two runs against each other; neither is the truth."""

    common: int
    hand: int = Field(description="-1 where the second run has the other hand.")
    rotation_difference_deg: list[float] = Field(description="Percentiles 5, 25, 50, 75, 95.")
    rotation_histogram: list[int] = Field(description="Particles per 2 degrees of difference.")
    within_deg: dict[str, float] = Field(description="Fraction of particles within so many degrees.")
    shift_difference_A: list[float] = Field(description="Percentiles 5, 25, 50, 75, 95.")
    latent_correlations: list[float] = Field(description="Canonical correlations, largest first.")
    fsc: Curve | None = Field(
        description="Between the mean maps, the second one placed in the first's frame."
    )
    map_resolution_A: float | None = Field(description="Where that falls below 0.5.")


class JobRequest(BaseModel):
    """A job to start: a name for its folder, and everything that config.toml holds."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="Name of the run's folder.")
    job: JobConfig


class JobInfo(Reply):
    """A job that was started here."""

    name: str
    run: str | None = Field(description="Id of its run.")
    state: Literal["running", "done", "stopped", "failed"]
    last_words: str
    resumable: bool = Field(description="Whether the run has stopped and can be resumed here.")


class Problem(Reply):
    """Why a call was refused."""

    detail: str = Field(description="One sentence.")

"""Every parameter of a reconstruction, declared once: command line and config.toml read this model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from nunatak.reconstruct.neural_config import TrainingParameters
from nunatak.reconstruct.recipe_config import RecipeParameters


class CoreParameters(BaseModel):
    """Parameters of the default engine; other recipes share most of them."""

    latent_dim: Literal["auto"] | Annotated[int, Field(ge=0, le=16)] = Field(
        "auto",
        description="Dimensions of the conformational latent; 0 is homogeneous; auto counts those that two "
        "halves of the data find by themselves and adds one (recipe nunatak; others take 4).",
    )
    most_latent_dim: int = Field(
        8, ge=1, le=16, description="With --latent-dim auto, no more dimensions; fewer where memory is short."
    )
    recipe: str = Field(
        "nunatak", description="Which recipe to run: `nunatak recipes` lists them; the default is the engine."
    )
    seed: int = Field(0, ge=0, description="Seed of every random choice.")
    particle_diameter_A: float | None = Field(
        None, gt=0, description="Diameter of the spherical mask; by default 84 % of the box."
    )
    contrast: Literal["auto", "bright", "dark"] = Field(
        "auto", description="Whether protein is bright or dark in the images; guessed by default."
    )
    flip_hand: bool = Field(False, description="Write the other hand: the data cannot tell the two apart.")
    restarts: int = Field(
        4, ge=1, le=256, description="Random starts, of which the best by held-out evidence goes on."
    )
    start_updates: int = Field(
        60, ge=5, description="Updates of a start before the weaker half of them is dropped."
    )
    start_batch: int = Field(200, ge=1, description="Images per update of a start.")
    assignment: Literal["soft", "hard"] = Field(
        "soft", description="Starts sum over all poses of an image, or take its best one."
    )
    annealing: bool = Field(
        True, description="What a start's map does not explain yet counts as noise in its posteriors."
    )
    radius_start_px: int = Field(
        10, ge=4, description="Fourier radius at which a start begins, Fourier pixels."
    )
    radius_end_px: int = Field(20, ge=5, description="Fourier radius at which a start ends, Fourier pixels.")
    healpix_order: int = Field(
        2, ge=1, le=3, description="Grid of the global search: 2 is 15 degrees, 4,608 rotations."
    )
    shift_extent_px: float = Field(
        4.5, ge=0, description="Largest trial shift of the global search, in 64ths of the box."
    )
    shift_step_px: float = Field(1.5, gt=0, description="Step of the trial shifts, in 64ths of the box.")
    refine_passes: int = Field(12, ge=1, description="At most so many passes of homogeneous refinement.")
    grow_passes: int = Field(12, ge=1, description="Passes that grow the subspace at held poses.")
    joint_passes: int = Field(
        12, ge=1, description="At most so many passes of joint pose and latent refinement."
    )
    landscape_functions: int = Field(
        8,
        ge=0,
        le=12,
        description="Smooth functions of the latent that maps follow; 0: linear maps.",
    )
    most_molecules: int = Field(
        8,
        ge=1,
        le=32,
        description="Groups of latents that are started by themselves where the particles differ in so many "
        "dimensions that they may be unrelated molecules; 1: none.",
    )
    resolution_limit_A: float | None = Field(
        None, gt=0, description="Never use frequencies beyond this resolution."
    )
    contrast_sd: float = Field(
        0.15, ge=0, description="Spread of per-image contrast to expect; 0 keeps it at 1."
    )


_UNCOUNTED = 4


class EngineConfig(TrainingParameters, RecipeParameters, CoreParameters):
    """Parameters of `nunatak abinit`, `reconstruct` and `heterogeneity`; units are in the names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def counts_latents(self) -> bool:
        """Whether the number of latent dimensions is to be found."""
        return self.latent_dim == "auto"

    @property
    def latents(self) -> int:
        """Latent dimensions of a recipe that does not count them."""
        return min(_UNCOUNTED, self.most_latent_dim) if self.latent_dim == "auto" else self.latent_dim

    @property
    def most_latents(self) -> int:
        """As many latent dimensions as a run may have."""
        return self.most_latent_dim if self.latent_dim == "auto" else self.latent_dim


def mask_radius_fraction(config: EngineConfig, extent_A: float) -> float:
    """Radius of the mask as a fraction of the box."""
    if config.particle_diameter_A is None:
        return 0.42
    return min(0.5 * config.particle_diameter_A / extent_A, 0.48)

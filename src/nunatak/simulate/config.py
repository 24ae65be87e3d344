"""Every parameter of a simulation, declared once, as flag, TOML key and documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SimulationConfig(BaseModel):
    """A simulated particle set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    particles: int = Field(default=5000, ge=1, description="Number of particle images.")
    box_px: int = Field(default=64, ge=8, description="Box of the images in pixels.")
    pixel_size_A: float | None = Field(
        default=None,
        gt=0,
        description="Pixel size in angstrom; by default the molecule spans 80 % of the box.",
    )
    resolution_A: float | None = Field(
        default=None,
        gt=0,
        description="Resolution of maps made from atoms, in angstrom; three pixels by default.",
    )

    structure: tuple[Path, ...] = Field(
        default=(),
        description="Atomic models (.pdb, .cif, also .gz) or maps (.mrc, .map): several are discrete states, "
        "or the blocks of --motion assembly. Without any, the built-in molecule is used.",
    )
    motion: Literal["rigid", "hinge", "assembly"] = Field(
        default="rigid",
        description="rigid: the structures as they are; hinge: a domain swings about a hinge; "
        "assembly: blocks present or absent.",
    )
    states: int | None = Field(
        default=None,
        ge=1,
        description="Number of states: 20 along a hinge, one per block of an assembly by default.",
    )
    occupancy: tuple[float, ...] = Field(
        default=(),
        description="Relative population of the states, uniform by default; along a hinge fewer numbers are "
        "interpolated (1 0.2 1 = two wells).",
    )
    hinge_degrees: float = Field(
        default=30.0, gt=0, le=180, description="The domain swings by plus and minus this."
    )
    hinge_chains: tuple[str, ...] = Field(
        default=(),
        description="What swings: chains (A) or residue ranges (B:1-235); a far domain is found by default.",
    )
    hinge_pivot: str = Field(
        default="", description="Residue of the hinge (B:236); where the domain touches the rest by default."
    )
    blocks: int = Field(
        default=4, ge=2, description="Blocks that one structure is divided into for an assembly."
    )
    assembly_states: tuple[str, ...] = Field(
        default=(),
        description="Blocks present in each state, joined by + (A+B A+B+C): chain names of one structure, "
        "file names without suffix of several; by default the blocks come one after another.",
    )

    snr: float = Field(
        default=0.1, gt=0, description="Variance of the clean image over that of the noise; inf for no noise."
    )
    noise_falloff: float = Field(
        default=0.0,
        ge=0,
        le=8,
        description="Power of the noise falls as frequency^-this beyond the corner; 0 is white.",
    )
    noise_corner_A: float = Field(
        default=60.0, gt=0, description="Period where the noise power starts to fall, in A."
    )
    contrast_sd: float = Field(
        default=0.0, ge=0, le=0.5, description="Standard deviation of the particles' contrast."
    )
    junk_fraction: float = Field(
        default=0.0, ge=0, lt=1, description="Fraction of images that show empty ice, a blob or an edge."
    )
    shift_extent_A: float | None = Field(
        default=None,
        ge=0,
        description="Extent of the particles' shifts along x and y; 4 % of the box by default.",
    )
    shift_distribution: Literal["uniform", "normal"] = Field(
        default="uniform",
        description="Shifts within plus and minus the extent, or normal with it as deviation.",
    )

    defocus_min_A: float = Field(
        default=8000.0, description="Least defocus of a micrograph; positive is underfocus."
    )
    defocus_max_A: float = Field(default=28000.0, description="Greatest defocus of a micrograph.")
    defocus_spread_A: float = Field(
        default=150.0, ge=0, description="Deviation of particles within a micrograph."
    )
    astigmatism_sd_A: float = Field(
        default=300.0, ge=0, description="Deviation of a micrograph's astigmatism."
    )
    particles_per_micrograph: int = Field(default=50, ge=1, description="Particles that share a micrograph.")
    voltage_kV: float = Field(default=300.0, gt=0, description="Acceleration voltage.")
    spherical_aberration_mm: float = Field(default=2.7, ge=0, description="Spherical aberration.")
    amplitude_contrast: float = Field(default=0.1, ge=0, le=1, description="Fraction of amplitude contrast.")

    seed: int = Field(
        default=0, ge=0, description="Seed of everything drawn; the same seed gives the same images."
    )


def demo_config(seed: int = 0) -> SimulationConfig:
    """The demo's particle set: the built-in molecule with a swinging arm, for minutes on a laptop."""
    return SimulationConfig(
        particles=3000,
        box_px=64,
        pixel_size_A=5.2,
        motion="hinge",
        states=20,
        hinge_degrees=40.0,
        snr=0.15,
        contrast_sd=0.1,
        shift_extent_A=10.0,
        seed=seed,
    )

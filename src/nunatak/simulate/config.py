"""Every parameter of a simulation, declared once: command-line flag, TOML key and documentation come from here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SimulationConfig(BaseModel):
    """A simulated particle set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    particles: int = Field(5000, ge=1, description="Number of particle images.")
    box_px: int = Field(64, ge=8, description="Box of the images in pixels.")
    pixel_size_A: float | None = Field(
        None, gt=0, description="Pixel size in angstrom; by default the molecule spans 80 % of the box."
    )
    resolution_A: float | None = Field(
        None, gt=0, description="Resolution of maps made from atoms, in angstrom; three pixels by default."
    )

    structure: tuple[Path, ...] = Field(
        (),
        description="Atomic models (.pdb, .cif, also .gz) or maps (.mrc, .map): several are discrete states, "
        "or the blocks of --motion assembly. Without any, the built-in molecule is used.",
    )
    motion: Literal["rigid", "hinge", "assembly"] = Field(
        "rigid",
        description="rigid: the structures as they are; hinge: a domain swings about a hinge; "
        "assembly: blocks present or absent.",
    )
    states: int | None = Field(
        None, ge=1, description="Number of states: 20 along a hinge, one per block of an assembly by default."
    )
    occupancy: tuple[float, ...] = Field(
        (),
        description="Relative population of the states, uniform by default; along a hinge fewer numbers are "
        "interpolated (1 0.2 1 = two wells).",
    )
    hinge_degrees: float = Field(30.0, gt=0, le=180, description="The domain swings by plus and minus this.")
    hinge_chains: tuple[str, ...] = Field(
        (),
        description="What swings: chains (A) or residue ranges (B:1-235); a far domain is found by default.",
    )
    hinge_pivot: str = Field(
        "", description="Residue of the hinge (B:236); where the domain touches the rest by default."
    )
    blocks: int = Field(4, ge=2, description="Blocks that one structure is divided into for an assembly.")
    assembly_states: tuple[str, ...] = Field(
        (),
        description="Blocks present in each state, joined by + (A+B A+B+C): chain names of one structure, "
        "file names without suffix of several; by default the blocks come one after another.",
    )

    snr: float = Field(
        0.1, gt=0, description="Variance of the clean image over that of the noise; inf for no noise."
    )
    noise_falloff: float = Field(
        0.0,
        ge=0,
        le=8,
        description="Power of the noise falls as frequency^-this beyond the corner; 0 is white.",
    )
    noise_corner_A: float = Field(
        60.0, gt=0, description="Period where the noise power starts to fall, in A."
    )
    contrast_sd: float = Field(
        0.0, ge=0, le=0.5, description="Standard deviation of the particles' contrast."
    )
    junk_fraction: float = Field(
        0.0, ge=0, lt=1, description="Fraction of images that show empty ice, a blob or an edge."
    )
    shift_extent_A: float | None = Field(
        None, ge=0, description="Extent of the particles' shifts along x and y; 4 % of the box by default."
    )
    shift_distribution: Literal["uniform", "normal"] = Field(
        "uniform", description="Shifts within plus and minus the extent, or normal with it as deviation."
    )

    defocus_min_A: float = Field(8000.0, description="Least defocus of a micrograph; positive is underfocus.")
    defocus_max_A: float = Field(28000.0, description="Greatest defocus of a micrograph.")
    defocus_spread_A: float = Field(150.0, ge=0, description="Deviation of particles within a micrograph.")
    astigmatism_sd_A: float = Field(300.0, ge=0, description="Deviation of a micrograph's astigmatism.")
    particles_per_micrograph: int = Field(50, ge=1, description="Particles that share a micrograph.")
    voltage_kV: float = Field(300.0, gt=0, description="Acceleration voltage.")
    spherical_aberration_mm: float = Field(2.7, ge=0, description="Spherical aberration.")
    amplitude_contrast: float = Field(0.1, ge=0, le=1, description="Fraction of amplitude contrast.")

    seed: int = Field(0, ge=0, description="Seed of everything drawn; the same seed gives the same images.")


def demo_config(seed: int = 0) -> SimulationConfig:
    """The demo's particle set: the built-in molecule with a swinging arm, small enough for minutes on a laptop."""
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

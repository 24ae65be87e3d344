"""The contrast transfer function, in RELION's sign convention (convention 6).

    gamma(s) = -pi lambda d(azimuth) s^2 + (pi / 2) Cs lambda^3 s^4
    CTF(s)   = -sin(gamma - phase shift - asin(w))

with d positive for underfocus and w the amplitude contrast (Rohou & Grigorieff 2015, eq. 2-4, RELION's sign).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class CtfParameters:
    """Optics of n particles; every field is an (n,) float32 tensor."""

    defocus_u_A: Tensor
    defocus_v_A: Tensor
    astigmatism_angle_deg: Tensor
    voltage_kV: Tensor
    spherical_aberration_mm: Tensor
    amplitude_contrast: Tensor
    phase_shift_deg: Tensor

    def __len__(self) -> int:
        return len(self.defocus_u_A)

    def __getitem__(self, rows: Tensor | slice) -> CtfParameters:
        return CtfParameters(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def electron_wavelength_A(voltage_kV: Tensor) -> Tensor:
    """Relativistic wavelength in angstrom."""
    volts = voltage_kV.double() * 1e3
    return 12.2643 / torch.sqrt(volts + 0.978466e-6 * volts**2)


def evaluate_ctf(parameters: CtfParameters, frequencies_per_A: Tensor) -> Tensor:
    """CTF values at (m, 2) spatial frequencies (x, y) in 1/A.

    Returns
    -------
    (n, m) float32
    """
    s = frequencies_per_A.double()
    squared = (s**2).sum(1)
    azimuth = torch.atan2(s[:, 1], s[:, 0])
    column = {f.name: getattr(parameters, f.name).double()[:, None] for f in fields(parameters)}
    wavelength = electron_wavelength_A(column["voltage_kV"])
    angle = torch.deg2rad(column["astigmatism_angle_deg"])
    mean = (column["defocus_u_A"] + column["defocus_v_A"]) / 2
    half_difference = (column["defocus_u_A"] - column["defocus_v_A"]) / 2
    defocus = mean + half_difference * torch.cos(2 * (azimuth - angle))
    aberration = 0.5 * math.pi * column["spherical_aberration_mm"] * 1e7 * wavelength**3
    gamma = -math.pi * wavelength * defocus * squared + aberration * squared**2
    offset = torch.deg2rad(column["phase_shift_deg"]) + torch.asin(column["amplitude_contrast"])
    return -torch.sin(gamma - offset).float()

"""Rotations as 3 x 3 matrices whose rows are the image axes in the volume frame (convention 2).

The algebra is roma's; what stands here is the field's own: RELION's Euler angles and pose distances.
"""

from __future__ import annotations

import math

import roma
import torch
from torch import Tensor


def matrices_from_euler(angles_deg: Tensor) -> Tensor:
    """(..., 3, 3) rotations from RELION's (rot, tilt, psi) in degrees, (..., 3).

    R = Rz(psi) Ry(tilt) Rz(rot) with RELION's passive matrices (Heymann, Chagoyen & Belnap 2005).
    """
    return roma.euler_to_rotmat("ZYZ", angles_deg, degrees=True).transpose(-1, -2)


def euler_from_matrices(rotations: Tensor) -> Tensor:
    """RELION's (rot, tilt, psi) in degrees, (..., 3); at tilt 0 or 180 the whole in-plane angle is psi."""
    r = rotations.double()
    sine = torch.hypot(r[..., 2, 0], r[..., 2, 1])
    polar = sine < 1e-6
    rot = torch.where(polar, torch.zeros_like(sine), torch.atan2(r[..., 2, 1], r[..., 2, 0]))
    tilt = torch.atan2(sine, r[..., 2, 2])
    free = torch.atan2(r[..., 1, 2], -r[..., 0, 2])
    # With rot = 0 the matrix is Rz(psi) Ry(0 or pi): psi is read from its second column.
    fixed = torch.atan2(r[..., 0, 1], r[..., 1, 1])
    psi = torch.where(polar, fixed, free)
    return torch.rad2deg(torch.stack([rot, tilt, psi], -1))


def random_rotations(count: int, generator: torch.Generator) -> Tensor:
    """(count, 3, 3) float32 rotations, uniform on SO(3)."""
    quaternions = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    return roma.unitquat_to_rotmat(quaternions / quaternions.norm(dim=1, keepdim=True)).float()


def geodesic_deg(first: Tensor, second: Tensor) -> Tensor:
    """Angle in degrees between rotations, (..., 3, 3) each."""
    # The Frobenius form keeps its digits at small angles, where the trace form loses them.
    chord = (first.double() - second.double()).flatten(-2).norm(dim=-1) / (2 * math.sqrt(2))
    return torch.rad2deg(2 * torch.asin(chord.clamp(max=1.0)))


def rotation_from_vector(vector_rad: Tensor) -> Tensor:
    """(..., 3, 3) rotation matrices of rotation vectors in radians, (..., 3)."""
    return roma.rotvec_to_rotmat(vector_rad)


def vector_from_rotation(rotations: Tensor) -> Tensor:
    """Rotation vectors in radians, (..., 3), of (..., 3, 3) matrices; the inverse of rotation_from_vector."""
    return roma.rotmat_to_rotvec(rotations)


def mean_rotation(rotations: Tensor, weights: Tensor) -> Tensor:
    """The rotation nearest, in the chordal sense, to (k, 3, 3) weighted rotations (Moakher 2002)."""
    return roma.special_procrustes(torch.einsum("k,kij->ij", weights, rotations))

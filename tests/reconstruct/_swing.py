"""States of a molecule whose arm swings about a body that stands still."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nunatak.geometry.rotations import rotation_from_vector
from nunatak.reconstruct.frames import States
from nunatak.volumes.alignment import Motion, move_maps

BOX = 32


def blobs(centres: Tensor, weights: Tensor, width_px: float = 1.3) -> Tensor:
    axis = torch.arange(BOX, dtype=torch.float32) - BOX // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], -1)
    return (weights * torch.exp(-((points[..., None, :] - centres) ** 2).sum(-1) / (2 * width_px**2))).sum(-1)


def about_z(angle_deg: float) -> Tensor:
    return rotation_from_vector(torch.tensor([[0.0, 0.0, math.radians(angle_deg)]])).float()[0]


def body_and_arm(angles_deg: list[float]) -> Tensor:
    """(k, d, d, d) a body of 24 blobs that stands still and an arm of 8 turned about z through a hinge."""
    generator = torch.Generator().manual_seed(3)
    body = torch.randn(24, 3, generator=generator) * 3.2 - torch.tensor([4.0, 0.0, 0.0])
    arm = torch.stack([torch.linspace(3.0, 11.0, 8), torch.randn(8, generator=generator), torch.zeros(8)], 1)
    weights = torch.ones(32)
    return torch.stack([blobs(torch.cat([body, arm @ about_z(a).T]), weights) for a in angles_deg])


def drifted_states(count: int) -> States:
    """The arm swings by 80 degrees and every frame by half of it, as an ab initio run leaves them."""
    angles = torch.linspace(-40, 40, count).tolist()
    drift = torch.stack([about_z(0.5 * angle) for angle in angles])
    return states_of(move_maps(body_and_arm(angles), Motion(drift, torch.zeros(count, 3))))


def states_of(maps: Tensor) -> States:
    count = len(maps)
    centres = torch.arange(float(count))[:, None]
    return States(maps, torch.ones(BOX // 2), torch.full((count,), 1 / count), torch.eye(count), centres)

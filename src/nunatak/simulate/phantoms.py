"""The built-in molecule: a procedural protein complex with a lever arm; nothing to download."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.spatial import cKDTree

from nunatak.simulate.structures import AtomicModel, joined

ARM_CHAIN = "F"
"""The chain that swings by default."""

RISE_A = 1.5
TURN_RAD = math.radians(100)
BACKBONE_RADIUS_A, SIDE_CHAIN_RADIUS_A = 2.3, 5.5
HELIX_SPACING_A = 10.0
RESIDUE_VOLUME_A3 = 165.0
"""Volume of a residue in these domains: with helices of 10 A spacing, a little loose."""
CARBON_WEIGHT, BACKBONE_ATOMS, SIDE_CHAIN_ATOMS = 6.5, 4.0, 4.0


@dataclass(frozen=True)
class Domain:
    """An ellipsoid to be filled with helices.

    Attributes
    ----------
    chain : str
    centre_A, semi_axes_A : tuple of three
        x, y, z.
    tilt_deg : tuple of three
        Turns about x, y, z, in that order.
    """

    chain: str
    centre_A: tuple[float, float, float]
    semi_axes_A: tuple[float, float, float]
    tilt_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)


# Lobes of unlike size on all sides, so that no view resembles another from elsewhere and the mirror image is
# another molecule: an ab initio search can then find one answer, up to the hand.
DOMAINS = (
    Domain("A", (0, 0, 0), (56, 38, 34), (0, 0, 20)),
    Domain("B", (-54, 26, 12), (30, 27, 40), (25, 0, 0)),
    Domain("C", (22, -46, 18), (30, 34, 24), (0, 30, 10)),
    Domain("D", (-30, -30, -34), (22, 38, 22), (30, 0, 40)),
    Domain("E", (0, 22, 46), (18, 18, 36), (-25, 15, 0)),
    Domain("F", (58, 24, -10), (20, 13, 13), (0, 15, 35)),
    Domain("F", (80, 44, -20), (26, 20, 19), (0, 25, 50)),
    Domain("F", (92, 80, -34), (24, 32, 25), (20, 0, -20)),
)


@lru_cache(maxsize=4)
def builtin_molecule(seed: int = 7) -> AtomicModel:
    """The built-in molecule: some 3,000 residues, 260 A long, asymmetric, chains A to E and the arm F.

    Each domain is a compact random walk of right-handed alpha helices inside an ellipsoid; a residue is two
    point masses, backbone and side chain. The same seed gives the same molecule. Its centre of mass is the
    origin.
    """
    generator = np.random.default_rng(seed)
    parts, last_residue = [], dict.fromkeys("ABCDEF", 0)
    occupied = np.zeros((0, 3))
    for domain in DOMAINS:
        model, occupied = _fill(domain, last_residue[domain.chain], occupied, generator)
        last_residue[domain.chain] = int(model.residues[-1])
        parts.append(model)
    return joined(parts).centred()


def _turn(tilt_deg: tuple[float, float, float]) -> np.ndarray:
    """(3, 3) rotation that turns about x, then y, then z."""
    turns = []
    for axis, angle in enumerate(np.radians(tilt_deg)):
        turn, (i, j) = np.eye(3), [(1, 2), (2, 0), (0, 1)][axis]
        turn[[i, i, j, j], [i, j, i, j]] = math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)
        turns.append(turn)
    return turns[2] @ turns[1] @ turns[0]


def _fill(
    domain: Domain, first_residue: int, occupied: np.ndarray, generator: np.random.Generator
) -> tuple[AtomicModel, np.ndarray]:
    """Walk helices through the ellipsoid, each where it is least crowded, until it is full.

    `occupied` are points on the axes of all helices so far; they come back with the new ones.
    """
    semi_axes = np.array(domain.semi_axes_A, float)
    wanted = int(4 / 3 * math.pi * semi_axes.prod() / RESIDUE_VOLUME_A3)
    to_unit_sphere = np.diag(1 / semi_axes) @ _turn(domain.tilt_deg).T
    centre = np.array(domain.centre_A, float)
    positions, count, start = [], 0, centre.copy()
    while count < wanted:
        start, end = _next_segment(start, occupied, (centre, to_unit_sphere), generator)
        residues = max(2, round(float(np.linalg.norm(end - start)) / RISE_A))
        positions.append(_helix(start, end, residues, generator))
        occupied = np.concatenate([occupied, np.linspace(start, end, residues // 3 + 1)])
        start, count = end, count + residues
    atoms = np.concatenate(positions)
    numbers = first_residue + 1 + np.repeat(np.arange(len(atoms) // 2), 2)
    weights = CARBON_WEIGHT * np.tile([BACKBONE_ATOMS, SIDE_CHAIN_ATOMS], len(atoms) // 2)
    return AtomicModel(atoms, weights, np.full(len(atoms), domain.chain), numbers), occupied


def _next_segment(start, occupied, ellipsoid, generator) -> tuple[np.ndarray, np.ndarray]:
    """Two ends of a helix near `start`: the least crowded of random candidates, with a penalty outside."""
    centre, to_unit_sphere = ellipsoid
    candidates = 48
    directions = generator.normal(size=(candidates, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    begins = start + HELIX_SPACING_A * generator.normal(size=(candidates, 3)) / 2
    lengths = generator.uniform(12, 32, candidates)
    steps = np.linspace(0, 1, 8)[None, :, None]
    points = begins[:, None] + directions[:, None] * lengths[:, None, None] * steps
    radius = np.linalg.norm((points - centre) @ to_unit_sphere.T, axis=2)
    cost = 8.0 * np.clip(radius - 1, 0, None).sum(1) * 8
    if len(occupied):
        tree = cKDTree(occupied)
        for reach in (0.6, 0.8, 1.0):  # a point counts once more the closer it is
            cost += tree.query_ball_point(points, reach * HELIX_SPACING_A, return_length=True).sum(1) / 3
    cost -= 0.08 * lengths
    best = int(np.argmin(cost))
    return points[best, 0], points[best, -1]


def _helix(start, end, residues: int, generator) -> np.ndarray:
    """(2 * residues, 3) backbone and side-chain positions of a right-handed helix between two points."""
    axis = (end - start) / np.linalg.norm(end - start)
    first = np.cross(axis, [0.0, 0.0, 1.0] if abs(axis[2]) < 0.9 else [1.0, 0.0, 0.0])
    first /= np.linalg.norm(first)
    second = np.cross(axis, first)
    angle = generator.uniform(0, 2 * math.pi) + TURN_RAD * np.arange(residues)[:, None]
    outward = np.cos(angle) * first + np.sin(angle) * second
    along = start + axis * RISE_A * np.arange(residues)[:, None]
    pair = np.stack([along + BACKBONE_RADIUS_A * outward, along + SIDE_CHAIN_RADIUS_A * outward], 1)
    return pair.reshape(-1, 3)

"""What a run costs, counted: operations and bytes of each step, per image, from the sizes alone.

A step cannot take less time than its operations at the processor's rate, nor than its bytes at the memory's
(the roofline of Williams, Waterman & Patterson 2009); docs/scaling.md sets this beside what was measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Of a step.

    Attributes
    ----------
    flop : float
        Additions and multiplications of real numbers.
    bytes : float
        Moved to and from memory that no cache can save: maps and sums are taken to stay in one.
    """

    flop: float
    bytes: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flop + other.flop, self.bytes + other.bytes)

    def __mul__(self, factor: float) -> Cost:
        return Cost(self.flop * factor, self.bytes * factor)

    def least_s(self, machine: Ceilings) -> float:
        """Seconds below which the step cannot be on a machine."""
        return max(self.flop / machine.flop_per_s, self.bytes / machine.bytes_per_s)


@dataclass(frozen=True)
class Ceilings:
    """What a machine can do at most.

    Attributes
    ----------
    flop_per_s : float
        Of matrix products in the type that is computed in.
    bytes_per_s : float
        Of a copy that fits into no cache, reading and writing counted.
    """

    flop_per_s: float
    bytes_per_s: float


def samples_within(radius_px: float) -> float:
    """Samples of the half-plane within a Fourier radius."""
    return 0.5 * math.pi * radius_px**2


def global_search(
    radius_px: int, directions: int, turns: int, shifts: int, by_residue: bool, maps: int = 1
) -> Cost:
    """Scores of an image at all poses and shifts against some maps.

    With every turned slice a pose and shift cost a product of 2 n real features, n samples within the
    radius; by residue a direction costs it, and turns are 2 (C + 2) operations each (search.cyclic). The sums
    of the M-step are the transposed product: as much again where posteriors are flat, next to nothing where
    they are sharp. Scores stay in a cache.
    """
    samples = samples_within(radius_px)
    poses = directions * turns
    product = 8 * samples * directions * shifts if by_residue else 4 * samples * poses * shifts
    turning = 2 * (turns + 2) * poses * shifts if by_residue else 0.0
    return Cost(product + turning, image_bytes(radius_px)) * maps


def local_evaluation(radius_px: int, latent_dim: int) -> Cost:
    """One evaluation of an image's normal equations at one candidate (search.normal_equations).

    Per sample: 8 corners of 1 + q complex channels for values and three slopes, then the upper triangle of a
    (6 + q) square of complex products.
    """
    channels, columns = 1 + latent_dim, 6 + latent_dim
    per_sample = 128 * channels + 2 * columns * (columns + 1) + 60
    return Cost(per_sample * samples_within(radius_px), image_bytes(radius_px))


def insertion(radius_px: int, latent_dim: int) -> Cost:
    """One image's samples added to the sums of its half-set (projection.kernels.insert_moments).

    Per sample 8 corners of 1 + q complex numerators and the packed denominator, read and written.
    """
    channels = 1 + latent_dim
    numbers = 2 * channels + channels * (channels + 1) / 2
    return Cost(16 * numbers * samples_within(radius_px), image_bytes(radius_px))


def solution(radius_px: int, latent_dim: int, solutions: int = 2) -> Cost:
    """Maps from sums, once a pass: a small system per voxel of the padded block, then a transform.

    Cholesky and two substitutions of 1 + q real unknowns; 5 n log2 n operations of an n-point transform of
    the padded box per channel.
    """
    channels, padded = 1 + latent_dim, (4 * (radius_px + 2)) ** 3
    voxels = (4 * radius_px + 3) ** 2 * (2 * radius_px + 2)
    solve = channels**3 / 3 + 4 * channels**2
    transform = 5 * padded * math.log2(padded) * channels / 2
    traffic = voxels * (16 * channels + 2 * channels * (channels + 1)) + 12 * padded * channels
    return Cost(voxels * solve + transform, traffic) * solutions


def image_bytes(radius_px: int, bytes_per_number: int = 4) -> float:
    """An image's samples and CTF as they are stored, read once a pass."""
    return 3 * bytes_per_number * samples_within(radius_px)


def refinement_pass(radius_px: int, latent_dim: int, turns: int, iterations: int) -> Cost:
    """One image in one pass: candidates around its pose, steps from the best, its samples in the sums."""
    evaluations = (turns if turns > 1 else 0) + 1 + iterations
    return local_evaluation(radius_px, latent_dim) * evaluations + insertion(radius_px, latent_dim)

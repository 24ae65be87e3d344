"""Nested cells of rotations and shifts: what a search over poses divides, and what it returns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nunatak.core.device import CPU
from nunatak.core.errors import require
from nunatak.core.fourier import HalfPlane
from nunatak.geometry.so3_grid import cell_rotations
from nunatak.search.candidates import ImageSamples


@dataclass(frozen=True)
class PoseGrid:
    """All poses of a grid, as the finest level of a tree of cells.

    A cell of an order is 8 rotation cells times 4 shift cells of the next (HEALPix pixels in four, psi and
    both shifts in two), so that every pose of the grid lies in exactly one cell of each coarser order. Where
    shifts would be coarser than `shift_step_most_px` they stay as they are, and only rotations divide.

    Attributes
    ----------
    order : int
        HEALPix order of the grid: 2 is 15 degrees, 3 is 7.5, 4 is 3.75.
    base_order : int
        Order of the tree's root, from whose frames psi is counted; at most `order`.
    shift_extent_px, shift_step_px : float
        The grid holds shifts up to at least the extent on either side, in pixels of the particles' box.
    shift_step_most_px : float
        Coarser orders have no wider steps than this, or the grid's own.
    """

    order: int = 3
    base_order: int = 2
    shift_extent_px: float = 4.5
    shift_step_px: float = 1.5
    shift_step_most_px: float = math.inf

    def __post_init__(self) -> None:
        require(
            0 <= self.base_order <= self.order,
            f"A pose grid of order {self.order} cannot begin at order {self.base_order}: begin lower.",
        )
        require(self.shift_step_px > 0, "The step of trial shifts must be larger than 0.")

    def rotation_count(self, order: int) -> int:
        """Rotation cells of an order."""
        return 72 * 8**order

    def shift_step_at(self, order: int) -> float:
        """Spacing of the trial shifts of an order, in pixels."""
        step = self.shift_step_px
        for _ in range(self.order - order):
            step = 2 * step if 2 * step <= self.shift_step_most_px else step
        return step

    def shifts_divide(self, order: int) -> bool:
        """Whether shift cells of an order are larger than those of the next."""
        return self.shift_extent_px > 0 and self.shift_step_at(order) > self.shift_step_at(order + 1)

    def shifts_per_axis(self, order: int) -> int:
        """Trial shifts along each axis at an order; 1 at every order where the extent is zero."""
        if self.shift_extent_px <= 0:
            return 1
        root = math.ceil(2 * self.shift_extent_px / self.shift_step_at(self.base_order) - 1e-9)
        return root * round(self.shift_step_at(self.base_order) / self.shift_step_at(order))

    @property
    def candidates(self) -> int:
        """Poses of the grid: rotations times shifts."""
        return self.rotation_count(self.order) * self.shifts_per_axis(self.order) ** 2

    def rotations(self, order: int, device: torch.device = CPU) -> Tensor:
        """(72 * 8^order, 3, 3) float32 centres of an order's rotation cells, psi fastest."""
        pixels = torch.arange(12 * 4**order, device=device)
        turns = torch.arange(6 * 2**order, device=device)
        pairs = torch.meshgrid(pixels, turns, indexing="ij")
        return cell_rotations(self.base_order, order, *pairs).flatten(0, 1)

    def shifts_px(self, order: int, device: torch.device = CPU) -> Tensor:
        """(s, 2) float32 centres of an order's shift cells, y fastest: middles of equal cells about zero."""
        count = self.shifts_per_axis(order)
        axis = (torch.arange(count, device=device) - (count - 1) / 2) * self.shift_step_at(order)
        return torch.cartesian_prod(axis, axis).view(-1, 2)


def coarsest_shift_step_px(box_px: int, radius_px: int) -> float:
    """Step beyond which a cell's centre says nothing of its edge: a quarter turn of phase at a radius."""
    return box_px / (2 * radius_px)


@dataclass(frozen=True)
class FoundPoses:
    """The best pose of each of n images, and what it took.

    Attributes
    ----------
    rotations : (n, 3, 3) float32
    shifts_px : (n, 2) float32
        Convention 3, in pixels of the particles' box.
    scores : (n,) float32
        Log likelihood against pure noise, at the last radius.
    evaluations : (n,) int64
        Poses (rotation and shift) that were compared with the image, at any radius.
    """

    rotations: Tensor
    shifts_px: Tensor
    scores: Tensor
    evaluations: Tensor

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class WeightedImages:
    """What scores need of images: both sums over samples of `score_poses`, weighted.

    Attributes
    ----------
    weighted : (n, m) complex64
        w c y, with w = 2 / sigma^2 of the sample's shell.
    power : (n, m) float32
        w c^2.
    plane : HalfPlane
    """

    weighted: Tensor
    power: Tensor
    plane: HalfPlane

    def __len__(self) -> int:
        return len(self.weighted)

    def within(self, radius_px: int) -> WeightedImages:
        """The samples inside a radius: they are the first ones."""
        count = self.plane.count_within(radius_px)
        plane = HalfPlane(
            self.plane.frequencies[:count],
            self.plane.shells[:count],
            self.plane.box_px,
            min(radius_px, self.plane.radius_px),
        )
        return WeightedImages(self.weighted[:, :count], self.power[:, :count], plane)

    def rows(self, rows: Tensor | slice) -> WeightedImages:
        """Some of the images."""
        return WeightedImages(self.weighted[rows], self.power[rows], self.plane)


def weighted_images(images: ImageSamples, noise_weights: Tensor) -> WeightedImages:
    """Images weighted for scoring; `noise_weights` are (shells,) 2 / sigma^2."""
    weights = noise_weights[images.plane.shells]
    weighted = images.samples * (images.transfer * weights)
    return WeightedImages(weighted, images.transfer**2 * weights, images.plane)


def centring_phases(shifts_px: Tensor, plane: HalfPlane) -> Tensor:
    """(s, m) complex64 factors exp(-2 pi i k.t / box): they centre images of (s, 2) shifts (convention 3)."""
    angle = -2 * math.pi / plane.box_px * (shifts_px.double() @ plane.frequencies.double().T)
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


def real_features(samples: Tensor) -> Tensor:
    """(..., 2 m) float32 real parts, then imaginary parts, of (..., m) complex samples."""
    return torch.cat([samples.real, samples.imag], -1)


def score_poses(images: WeightedImages, slices: Tensor, phases: Tensor) -> Tensor:
    """(n, s, p) log likelihood, against pure noise, of n images at s shifts and p slices.

    sum_k w [ Re conj(P) c y exp(-2 pi i k.t / box) - 1/2 c^2 |P|^2 ], one matrix product for each term.

    Parameters
    ----------
    slices : (p, m) complex64
    phases : (s, m) complex64
        From centring_phases.
    """
    shifted = real_features(images.weighted[:, None] * phases)
    cross = shifted.flatten(0, 1) @ real_features(slices).T
    norm = 0.5 * images.power @ (slices.real**2 + slices.imag**2).T
    return cross.view(len(images), len(phases), -1) - norm[:, None]

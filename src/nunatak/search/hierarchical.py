"""Hierarchical pose search: a coarse grid, then children of the best poses at growing resolution.

The search of cryoDRGN2 and cryoDRGN-AI (Zhong et al. 2021; Levy et al. 2025) under its published
hyper-parameters. Every pose of a coarse grid is scored at low resolution with every trial shift; the best few
are kept, each with its best shift; then each is replaced by the 8 cells it is made of, with a shift grid of
half the step about its shift, at a larger radius; and so on. Where the original evaluates a network for each
slice, here all images share one bank of slices for the grid and one Fourier volume for the children.

Scores are log likelihoods against pure noise, for weights 2 / sigma^2 (convention 7):

    sum_k w_k [ Re conj(P_k) c_k y_k exp(-2 pi i k.t / box)  -  1/2 c_k^2 |P_k|^2 ].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nunatak.core import device as devices
from nunatak.core.device import to_device
from nunatak.core.errors import require
from nunatak.core.fourier import half_plane
from nunatak.geometry.so3_grid import cell_rotations, child_cells, rotation_grid
from nunatak.projection import slices
from nunatak.search import hierarchical_kernels as kernels
from nunatak.search.candidates import ImageSamples
from nunatak.search.marching import frequency_march
from nunatak.search.marginal import ImageBatch, shift_phases
from nunatak.search.polar import PolarPlane, polar_plane, polar_samples, polar_transform
from nunatak.search.published import PublishedParameters
from nunatak.search.slice_bank import SliceBank, scoring_dtype, slice_bank
from nunatak.volumes.maps import working_box

PADDING = 2
# Images in memory at a time as rows, and as scores over the whole grid with every shift.
CHUNK = 256
GRID_CHUNK = 8


@dataclass(frozen=True)
class HierarchicalConfig(PublishedParameters):
    """The search's parameters, found consistent, and what follows from them.

    Raises
    ------
    InputError
        l_start beyond l_end, or a count below 1.
    """

    def __post_init__(self) -> None:
        require(
            0 < self.l_start <= self.l_end,
            f"l_start must lie between 1 and l_end, but l_start is {self.l_start} and l_end is {self.l_end}.",
        )
        least = min(self.n_kept_poses, self.t_n_grid, self.base_healpy, self.n_iter + 1)
        require(
            least >= 1, "n_kept_poses, t_n_grid and base_healpy must be at least 1, and n_iter at least 0."
        )

    @property
    def shifts_per_axis(self) -> int:
        """Trial shifts along each axis, at every level."""
        moves = self.t_extent > 0 and not self.no_trans_search_at_pose_search
        return self.t_n_grid * 2 ** (self.base_healpy - 1) if moves else 1

    @property
    def plane(self) -> PolarPlane:
        """Polar samples on which the coarse grid is scored, on the CPU."""
        return polar_plane(self.l_start, rotation_grid(self.base_healpy).in_plane_count)


@dataclass(frozen=True)
class KeptPoses:
    """The poses kept at a level for n images, best first.

    Attributes
    ----------
    rotations : (n, k, 3, 3) float32
    shifts_px : (n, k, 2) float32
        Convention 3, in pixels of the particles' box.
    scores : (n, k) float32
        Log likelihood against pure noise, at the level's radius.
    """

    rotations: Tensor
    shifts_px: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def best(self) -> tuple[Tensor, Tensor, Tensor]:
        """(n, 3, 3) rotations, (n, 2) shifts in pixels and (n,) scores of each image's best pose."""
        return self.rotations[:, 0], self.shifts_px[:, 0], self.scores[:, 0]

    @property
    def margin(self) -> Tensor:
        """(n,) how much the best pose's score exceeds the second best's."""
        return self.scores[:, 0] - self.scores[:, min(1, self.scores.shape[1] - 1)]


def shift_axis(config: HierarchicalConfig, level: int) -> Tensor:
    """(s,) float64 trial shifts along one axis about a level's centre, in pixels: middles of equal cells."""
    count = config.shifts_per_axis
    step = 2 * config.t_extent / count / 2**level
    return (torch.arange(count, dtype=torch.float64) - (count - 1) / 2) * step


def polar_batch(
    images: ImageSamples, transfer: Tensor, noise_weights: Tensor, config: HierarchicalConfig
) -> ImageBatch:
    """Whitened polar samples of images, for the coarse grid.

    Parameters
    ----------
    transfer : (n, p) float32
        CTF values at config.plane.frequencies.
    noise_weights : (shells,) float32
        2 / sigma^2.
    """
    device = images.samples.device
    plane, box_px = to_device(config.plane, device), working_box(config.l_start)
    small = to_device(half_plane(box_px, config.l_start), device)
    transform = polar_transform(plane, box_px)
    weight = torch.sqrt(plane.areas * noise_weights[plane.rings])
    parts = [polar_samples(part[:, : len(small)], small, transform) for part in images.samples.split(512)]
    return ImageBatch(torch.cat(parts) * weight, transfer * weight)


def row_samples(images: ImageSamples, noise_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted samples on rows of constant kx, from which score_children reads.

    Returns
    -------
    (n, r + 1, 2 r + 1) complex64 w c y and float32 w c^2 at [kx, ky + r]; zero outside the half-plane
    """
    plane = images.plane
    radius = plane.radius_px
    weights = noise_weights[plane.shells]
    index = plane.frequencies[:, 0] * (2 * radius + 1) + plane.frequencies[:, 1] + radius
    size = (len(images), (radius + 1) * (2 * radius + 1))
    weighted, power = images.samples.new_zeros(size), images.transfer.new_zeros(size)
    weighted[:, index] = images.samples * (images.transfer * weights)
    power[:, index] = images.transfer**2 * weights
    shape = (len(images), radius + 1, 2 * radius + 1)
    return weighted.view(shape), power.view(shape)


def reference_best_shift(scores: Tensor) -> tuple[Tensor, Tensor]:
    """See nunatak.search.hierarchical_kernels.best_shift; any device."""
    best, shift = scores.max(1)
    return best.float(), shift


def reference_score_children(
    block: Tensor,
    padding: int,
    rotations: Tensor,
    centres: Tensor,
    images: tuple[Tensor, Tensor],
    radius_px: int,
    offsets: Tensor,
) -> tuple[Tensor, Tensor]:
    """Best shift of every child, and its score.

    Parameters
    ----------
    block : (m, m, h, 1) complex64
    rotations : (b, k, c, 3, 3) float32
        Children of the kept poses of each image.
    centres : (b, k, 2) float32
        About which shift, in radians per Fourier pixel: 2 pi / box times pixels.
    images : two (b, r + 1, 2 r + 1) tensors
        From row_samples.
    radius_px : int
        At most r.
    offsets : (s,)
        Trial shifts along each axis in radians per Fourier pixel, symmetric about zero.

    Returns
    -------
    (b, k, c) scores and (b, k, c, 2) shifts in radians per Fourier pixel
    """
    reach = images[0].shape[1] - 1
    frequencies = half_plane(2 * radius_px + 1, radius_px).frequencies.to(block.device)
    weighted, power = (part[:, frequencies[:, 0], frequencies[:, 1] + reach] for part in images)
    found = slices.slice_block(block, rotations.flatten(0, 2), frequencies, padding)[..., 0]
    views = found.view(*rotations.shape[:3], -1)
    trials = torch.cartesian_prod(offsets, offsets).to(centres)
    centred = weighted[:, None] * _phases(centres, frequencies)
    cross = torch.einsum(
        "bkcn,sn->bkcs", centred[:, :, None] * views.conj(), _phases(trials, frequencies)
    ).real
    best, place = cross.max(-1)
    norm = torch.einsum("bn,bkcn->bkc", power, views.abs() ** 2)
    return best - 0.5 * norm, centres[:, :, None] + trials[place]


def _phases(shifts: Tensor, frequencies: Tensor) -> Tensor:
    """(..., n) factors that centre an image, for (..., 2) shifts in radians per Fourier pixel."""
    angle = -(shifts @ frequencies.to(shifts).T)
    return torch.polar(torch.ones_like(angle), angle)


@dataclass(frozen=True)
class _Cells:
    """Kept cells of the rotation group, k for each of b images: pixels, turns, shifts in pixels, scores."""

    pixels: Tensor
    turns: Tensor
    shifts_px: Tensor
    scores: Tensor

    def picked(self, place: Tensor) -> _Cells:
        """The cells at (b, k) places."""
        pair = place[..., None].expand(*place.shape, 2)
        fields = (self.pixels.gather(1, place), self.turns.gather(1, place), self.shifts_px.gather(1, pair))
        return _Cells(*fields, self.scores.gather(1, place))


def _coarse_cells(bank: SliceBank, batch: ImageBatch, shifts: tuple[Tensor, Tensor], kept: int) -> _Cells:
    """Best poses of the grid, each with its best shift; `shifts` are (s, 2) pixels and (s, p) phases."""
    found = [
        _score_grid(bank, ImageBatch(*part), shifts[1], kept)
        for part in zip(batch.samples.split(GRID_CHUNK), batch.transfer.split(GRID_CHUNK), strict=True)
    ]
    poses, place, scores = (torch.cat(field) for field in zip(*found, strict=True))
    in_plane = bank.grid.in_plane_count
    return _Cells(poses // in_plane, poses % in_plane, shifts[0][place], scores)


def _score_grid(bank: SliceBank, batch: ImageBatch, phases: Tensor, kept: int) -> tuple[Tensor, ...]:
    """(b, k) best poses of some images, index of the best shift of each, and scores."""
    transfer = batch.transfer
    products = bank.products(batch.samples * transfer, phases)
    fast = products.dtype == torch.bfloat16 and devices.is_compiled(products)
    best, place = kernels.best_shift(products) if fast else reference_best_shift(products)
    norm = bank.norms(transfer**2).transpose(1, 2).flatten(1)
    scores, poses = (best - norm).topk(kept, 1)
    return poses, place.gather(1, poses), scores


@dataclass(frozen=True)
class _Level:
    """One refinement: its HEALPix order and radius, and the trial shifts about each kept one, in pixels."""

    order: int
    radius_px: int
    offsets_px: Tensor


def _refine(
    cells: _Cells,
    level: _Level,
    block: Tensor,
    images: tuple[Tensor, Tensor],
    box_px: int,
    config: HierarchicalConfig,
) -> _Cells:
    """The best children of kept cells."""
    pixels, turns = child_cells(cells.pixels, cells.turns)
    rotations = cell_rotations(config.base_healpy, level.order, pixels, turns)
    score = kernels.score_children if devices.is_compiled(block) else reference_score_children
    unit = 2 * math.pi / box_px
    scores, shifts = score(
        block, PADDING, rotations, cells.shifts_px * unit, images, level.radius_px, level.offsets_px * unit
    )
    every = _Cells(pixels.flatten(1), turns.flatten(1), shifts.flatten(1, 2) / unit, scores.flatten(1))
    return every.picked(every.scores.topk(config.n_kept_poses, 1).indices)


def _images_at_once(block: Tensor, images: ImageSamples, config: HierarchicalConfig) -> int:
    """As many as are quick together; in plain torch only as many as fit, slices of all children at a time."""
    if devices.is_compiled(block):
        return CHUNK
    # Per sample of a slice: coordinates, indices, weights, one corner and the values.
    image_bytes = 8 * config.n_kept_poses * len(images.plane) * 120
    return min(CHUNK, devices.rows_that_fit(image_bytes, block.device))


def hierarchical_search(
    block: Tensor,
    images: ImageSamples,
    polar: ImageBatch,
    noise_weights: Tensor,
    config: HierarchicalConfig,
    progress: Callable[[int], None] = lambda done: None,
) -> KeptPoses:
    """Rotation and shift of every image against one map.

    Parameters
    ----------
    block : (m, m, h, 1) complex64
        Of the map, from nunatak.projection.gridding.block_from_maps, for a radius of at least l_end.
    images : ImageSamples
        n images, to a radius of at least l_end, or of all that their box holds.
    polar : ImageBatch
        The same images for the coarse grid, from polar_batch.
    noise_weights : (shells,) float32
        2 / sigma^2.
    progress : function of the number of images done

    Raises
    ------
    InputError
        l_end beyond Nyquist, or beyond the samples or the block.
    """
    plane, box_px, device = images.plane, images.plane.box_px, block.device
    grid, coarse = to_device((rotation_grid(config.base_healpy), config.plane), device)
    nyquist = (box_px - 1) // 2
    held = min(plane.radius_px, (block.shape[2] - 2) // PADDING)
    require(
        config.l_end <= box_px // 2,
        f"l_end is {config.l_end} Fourier pixels, but images of {box_px} pixels hold frequencies up to "
        f"{box_px // 2}: give l_end as {box_px // 2} or less.",
    )
    require(
        held >= min(config.l_end, nyquist),
        f"l_end is {config.l_end} Fourier pixels, but samples and map were cut at {held}.",
    )
    radii = frequency_march(config.l_start, config.l_end, config.n_iter, config.schedule)
    levels = [
        _Level(config.base_healpy + number, min(radius, nyquist), shift_axis(config, number).to(device))
        for number, radius in enumerate(radii)
    ]
    middle = torch.tensor([config.t_x_shift, config.t_y_shift], device=device)
    shifts_px = torch.cartesian_prod(levels[0].offsets_px, levels[0].offsets_px).float().view(-1, 2) + middle
    bank = slice_bank(block, grid, coarse, scoring_dtype(device))
    shifts = shifts_px, shift_phases(shifts_px, coarse, box_px)
    kept = []
    for part in torch.arange(len(images), device=device).split(_images_at_once(block, images, config)):
        cells = _coarse_cells(
            bank, ImageBatch(polar.samples[part], polar.transfer[part]), shifts, config.n_kept_poses
        )
        rows = row_samples(ImageSamples(images.samples[part], images.transfer[part], plane), noise_weights)
        for level in levels[1:]:
            cells = _refine(cells, level, block, rows, box_px, config)
        rotations = cell_rotations(config.base_healpy, levels[-1].order, cells.pixels, cells.turns)
        kept.append((rotations, cells.shifts_px, cells.scores))
        progress(sum(len(scores) for *_, scores in kept))
    return KeptPoses(*(torch.cat(field) for field in zip(*kept, strict=True)))

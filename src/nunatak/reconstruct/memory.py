"""How much memory a run takes, counted before it begins, and how many images at a time make it fit.

Every number is bytes of arrays that live at the same time; the coefficients of temporaries were counted in
the code named beside them and compared with measured peaks (tests/runs/test_memory.py, docs/scaling.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from nunatak.core.fourier import half_plane
from nunatak.geometry.so3_grid import rotation_grid, shift_disk
from nunatak.particles.cache import Tiles
from nunatak.projection.slices import block_shape
from nunatak.reconstruct.consensus import ConsensusConfig
from nunatak.search.polar import polar_plane
from nunatak.volumes.maps import working_box

SMALLEST = Tiles(ingest=16, local=64, search=4)
"""Fewer images at a time than these save no memory that matters."""
LARGEST_ON_A_GPU = Tiles(ingest=2048, local=1 << 16, search=512)
"""A GPU is idle between small tiles; its caches are not what tiles are cut for."""
# Sums of a curved landscape's maps may take so much, or as much as the linear model's.
_MOST_FUNCTION_BYTES = 1_500_000_000
# Compiled kernels, and what the allocator keeps.
_OVERHEAD_BYTES = 420_000_000


@dataclass(frozen=True)
class Workload:
    """What decides about memory.

    Attributes
    ----------
    held, total : int
        Images of this process and of all.
    box_px, radius_px : int
        Of the images; the largest radius that maps may reach.
    latent_dim : int
    functions : int
        Wanted, of the latent, for maps along the landscape.
    consensus : ConsensusConfig or None
        Parameters of the global search; None where poses are given.
    """

    held: int
    total: int
    box_px: int
    radius_px: int
    latent_dim: int
    consensus: ConsensusConfig | None
    functions: int = 0

    @property
    def channels(self) -> int:
        """Most maps that are solved for together."""
        fitting = functions_that_fit(self.functions, self.radius_px, self.latent_dim)
        return 1 + max(self.latent_dim, fitting)


@dataclass(frozen=True)
class MemoryPlan:
    """A way to hold the images, and what it takes.

    Attributes
    ----------
    tiles : Tiles
    on_disk : bool
        The samples stay on the disk.
    base_bytes : int
        What the process has before it reads an image.
    parts : dict
        Bytes by what they are for; `peak_bytes` says which of them live at the same time.
    """

    tiles: Tiles
    on_disk: bool
    base_bytes: int
    parts: dict[str, int]

    @property
    def peak_bytes(self) -> int:
        """Most that lives at the same time: what stays, and the largest of the steps."""
        part = self.parts
        stays = self.base_bytes + _OVERHEAD_BYTES + part["images"]
        steps = max(part["search step"], part["local step"], part["maps"])
        return stays + max(part["reading"], part["polar images"] + part["particles"] + steps)


def predict(work: Workload, tiles: Tiles, on_disk: bool, base_bytes: int) -> MemoryPlan:
    """What a run takes with some tiles."""
    samples = len(half_plane(work.box_px, (work.box_px - 1) // 2))
    reached = len(half_plane(work.box_px, work.radius_px))
    tile = min(tiles.ingest, work.held)
    local = min(tiles.local, work.held)
    parts = {
        "images": 0 if on_disk else 12 * work.held * samples,
        # particles.ingest: pixels three times, their transform, the CTF in float64.
        "reading": tile * (28 * work.box_px**2 + 60 * samples),
        "polar images": 0,
        # Model before and after a pass, and its parts: rotation, shift, scale, latents, covariance, evidence.
        "particles": 3 * 4 * work.total * (16 + work.channels + work.channels**2),
        "search step": 0,
        # model.particle_sums: samples and CTF of a tile, their angle, phase, product and square.
        "local step": local * reached * 48 + _sums(work.radius_px, work.channels),
        "maps": _maps(work.radius_px, work.channels, work.box_px),
    }
    if work.consensus is not None:
        parts |= _search(work, work.consensus, tiles)
    return MemoryPlan(tiles, on_disk, base_bytes, parts)


def _search(work: Workload, config: ConsensusConfig, tiles: Tiles) -> dict[str, int]:
    """The global search: polar images, and a tile's scores over all poses and shifts."""
    grid = rotation_grid(config.healpix_order)
    polar = len(polar_plane(config.radius_end_px, grid.in_plane_count))
    shifts = len(shift_disk(config.shift_extent_px, config.shift_step_px))
    poses = len(grid.directions) * grid.in_plane_count
    scores = min(tiles.search, work.held) * shifts * poses
    return {
        "polar images": 12 * work.held * polar,
        # search.slice_bank: turned slices and their powers; search.marginal: scores, twice, in float32.
        "search step": poses * polar * (8 + 4) + 12 * scores,
    }


def _voxels(radius_px: int) -> int:
    depth, height, width = block_shape(radius_px, 2)
    return depth * height * width


def _sums(radius_px: int, channels: int) -> int:
    """The sums of one half-set while those of another are made: old, new and their sum."""
    return 4 * _voxels(radius_px) * _sum_bytes(channels)


def _sum_bytes(channels: int) -> int:
    return 8 * channels + 2 * channels * (channels + 1)


def _maps(radius_px: int, channels: int, box_px: int) -> int:
    """Both halves' sums and their total, a solution, and its padded transform and map."""
    voxels, box = _voxels(radius_px), min(working_box(radius_px), box_px)
    padded = (2 * box) ** 3
    return 3 * voxels * _sum_bytes(channels) + channels * (voxels * 24 + padded * 12 + 5 * 4 * box**3)


def functions_that_fit(wanted: int, radius_px: int, latent_dim: int) -> int:
    """As many smooth functions of the latent as are wanted, or as the sums of their maps leave room for."""
    room = max(_MOST_FUNCTION_BYTES, _sums(radius_px, 1 + latent_dim))
    return max((k for k in range(1, wanted + 1) if _sums(radius_px, 1 + k) <= room), default=0)


def choose(
    work: Workload, limit_bytes: float, base_bytes: int, disk: bool | None, largest: Tiles | None = None
) -> MemoryPlan | None:
    """The plan with the largest tiles, in memory where they fit, that stays under a limit; None if none does.

    Parameters
    ----------
    disk : bool or None
        True or false where it is asked for; None takes the disk where memory does not do.
    largest : Tiles, optional
        Those of the CPU by default.
    """
    for on_disk in (False, True) if disk is None else (disk,):
        for tiles in _smaller(largest or Tiles()):
            plan = predict(work, tiles, on_disk, base_bytes)
            if plan.peak_bytes <= limit_bytes:
                return plan
    return None


def _smaller(tiles: Tiles) -> Iterator[Tiles]:
    """Tiles, and half of them again and again down to the smallest."""
    yield tiles
    while tiles != SMALLEST:
        tiles = replace(
            tiles,
            ingest=max(tiles.ingest // 2, SMALLEST.ingest),
            local=max(tiles.local // 2, SMALLEST.local),
            search=max(tiles.search // 2, SMALLEST.search),
        )
        yield tiles

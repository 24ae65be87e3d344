"""How much memory a run takes, counted before it begins, and how many images at a time make it fit.

Every number is bytes of arrays that live at the same time; the coefficients of temporaries were counted in
the code named beside them and compared with measured peaks (tests/runs/test_memory.py, docs/scaling.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from nunatak.core.fourier import half_plane
from nunatak.geometry.so3_grid import rotation_grid, shift_disk
from nunatak.latent.landscape import LATENTS_AT_ONCE, MOST_NODES
from nunatak.particles.cache import Tiles
from nunatak.projection.insertion import insertion_threads
from nunatak.projection.slices import block_shape
from nunatak.reconstruct.consensus import ConsensusConfig
from nunatak.search.marginal import RESIDUE_CHUNK
from nunatak.search.polar import polar_plane
from nunatak.volumes.alignment import VOXELS_AT_ONCE
from nunatak.volumes.maps import working_box

SMALLEST = Tiles(ingest=16, local=64, search=4)
"""Fewer images at a time than these save no memory that matters."""
LARGEST_ON_A_GPU = Tiles(ingest=2048, local=1 << 16, search=512)
"""A GPU is idle between small tiles; its caches are not what tiles are cut for."""
LEAST_IN_A_GROUP = 250
"""Particles per group of states on average; fewer make no map in which a part could be recognised."""
# Sums of a curved landscape's maps may take so much, or as much as the linear model's.
_MOST_FUNCTION_BYTES = 1_500_000_000
# Libraries that are loaded later, 80 MB, and kernels while they are compiled.
_OVERHEAD_BYTES = 150_000_000


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
    consensus : ConsensusConfig or None
        Parameters of the global search; None where poses are given.
    functions : int
        Wanted, of the latent, for maps along the landscape.
    threads : int
        Of this process.
    by_residue : bool
        Scores of the global search are made by angular residue, without turned slices (search.slice_bank).
    """

    held: int
    total: int
    box_px: int
    radius_px: int
    latent_dim: int
    consensus: ConsensusConfig | None
    functions: int = 0
    threads: int = 1
    by_residue: bool = False

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
        steps = max(part["search step"], part["local step"], part["maps"], part["landscape"])
        held = part["polar images"] + part["particles"] + part["fits"]
        return stays + max(part["reading"], held + steps)


def predict(work: Workload, tiles: Tiles, on_disk: bool, base_bytes: int) -> MemoryPlan:
    """What a run takes with some tiles."""
    samples = len(half_plane(work.box_px, (work.box_px - 1) // 2))
    parts = {
        "images": 0 if on_disk else 12 * work.held * samples,
        "reading": min(tiles.ingest, work.held) * _reading(work.box_px, samples),
        "polar images": 0,
        "particles": _particles(work),
        "fits": _fits(work),
        "search step": 0,
        "local step": _local_step(work, tiles) + _sums(work),
        "maps": _maps(work),
        "landscape": _landscape(work.total) if work.latent_dim else 0,
    }
    if work.consensus is not None:
        parts |= _search(work, work.consensus, tiles, on_disk)
    return MemoryPlan(tiles, on_disk, base_bytes, parts)


def _reading(box_px: int, samples: int) -> int:
    """Bytes of an image while it is read (particles.ingest).

    Either the background's pixels are transformed, beside the image's, or the CTF is computed in float64.
    """
    return max(28 * box_px**2 + 12 * samples, 8 * box_px**2 + 60 * samples)


def _state(work: Workload) -> int:
    """Bytes of a particle in a model: pose, shift, scale, row, half-set, evidence, latents and covariance."""
    return 70 + 4 * work.latent_dim * (1 + work.latent_dim)


def _particles(work: Workload) -> int:
    """Models of all particles: before a pass, after it, and one with functions in the place of latents."""
    functions = work.channels - 1
    return work.total * (2 * _state(work) + 4 * functions * (1 + functions))


def _fits(work: Workload) -> int:
    """What a pass finds for the particles of this process (model.expect), and residual power twice more."""
    return work.held * (_state(work) + 12 * (work.radius_px + 1))


def _local_step(work: Workload, tiles: Tiles) -> int:
    """Samples and CTF of a tile, their angle, phase, product and square (model.particle_sums).

    Those of the tile before are still there.
    """
    tile, reached = min(tiles.local, work.held), len(half_plane(work.box_px, work.radius_px))
    return tile * reached * (32 if tile == work.held else 48)


def _search(work: Workload, config: ConsensusConfig, tiles: Tiles, on_disk: bool) -> dict[str, int]:
    """The global search: polar images where samples are in memory; a tile's scores over poses and shifts."""
    grid = rotation_grid(config.healpix_order)
    polar = len(polar_plane(config.radius_end_px, grid.in_plane_count))
    shifts = len(shift_disk(config.shift_extent_px, config.shift_step_px))
    poses = len(grid.directions) * grid.in_plane_count
    images = min(tiles.search, work.held)
    at_once = min(images, RESIDUE_CHUNK) if work.by_residue else images
    trials, chunks = at_once * shifts, -(-images // at_once)
    # search.slice_bank: turned slices, made and kept, and their powers; or slices, residues and matrices of
    # both, made and kept. search.marginal: the sums of every chunk, twice; shifted images and their features;
    # scores as they come from the product, in float32, and as weights.
    bank = len(grid.directions) * 96 if work.by_residue else poses * 28
    return {
        "polar images": 0 if on_disk else 12 * work.held * polar,
        "search step": polar * (bank + 24 * chunks * len(grid.directions))
        + trials * (24 * polar + 12 * poses),
    }


def _voxels(radius_px: int) -> int:
    depth, height, width = block_shape(radius_px, 2)
    return depth * height * width


def _sum_bytes(channels: int) -> int:
    """Of a voxel of one half-set's sums: numerator and packed denominator."""
    return 8 * channels + 2 * channels * (channels + 1)


def _sums(work: Workload) -> int:
    """The sums of one half-set while those of another are made, and what threads add up for themselves."""
    own = _voxels(work.radius_px) * _sum_bytes(work.channels)
    return own * (1 + insertion_threads(own // 4, work.held, work.threads))


def _maps(work: Workload) -> int:
    """Both halves' sums; a solution and its transform; maps (solving.solve_systems).

    Of a voxel, in bytes: 8 for each channel's solution, 56 for the shells, the ridge and one channel's
    transforms. Of maps there are four at a time, those before, and those that a landscape keeps.
    """
    voxels, channels = _voxels(work.radius_px), work.channels
    box = min(working_box(work.radius_px), work.box_px)
    return voxels * (2 * _sum_bytes(channels) + 56 + 8 * channels) + 40 * channels * box**3


def _landscape(particles: int) -> int:
    """Memberships of some latents in the nodes, their products, and groups' maps as they are turned.

    See latent.landscape, and volumes.alignment for the maps, of which there are none without two groups.
    """
    some, nodes = min(particles, LATENTS_AT_ONCE), min(particles, MOST_NODES)
    groups = 70 * VOXELS_AT_ONCE if particles >= 2 * LEAST_IN_A_GROUP else 0
    return max(24 * some * nodes + 40 * nodes**2, groups)


def functions_that_fit(wanted: int, radius_px: int, latent_dim: int) -> int:
    """As many smooth functions of the latent as are wanted, or as the sums of their maps leave room for."""
    taken = lambda channels: 4 * _voxels(radius_px) * _sum_bytes(channels)  # noqa: E731
    room = max(_MOST_FUNCTION_BYTES, taken(1 + latent_dim))
    return max((k for k in range(1, wanted + 1) if taken(1 + k) <= room), default=0)


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

"""Particles as the engine uses them: Fourier samples of all images on one grid, read once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from nunatak.core.collective import ALONE, Group, Share
from nunatak.core.device import CPU, to_device
from nunatak.core.fourier import HalfPlane, half_plane
from nunatak.optics.ctf import CtfParameters, evaluate_ctf
from nunatak.particles.cache_files import CachePlace, Stretch, open_files
from nunatak.particles.dataset import Particles
from nunatak.particles.ingest import Ingest, shell_power
from nunatak.particles.stored import StoredRows


@dataclass(frozen=True)
class Tiles:
    """How many images are computed with at a time: what memory a pass takes depends on it.

    Attributes
    ----------
    ingest, local, search : int
        When images are read; in local searches and sums; in searches of the whole grid.
    """

    ingest: int = 1024
    local: int = 4096
    search: int = 100


@dataclass(frozen=True)
class CachePlan:
    """How the samples of a set are held.

    Attributes
    ----------
    group : Group
        Processes that share them.
    tiles : Tiles
    place : CachePlace or None
        Folder for them; None keeps them in memory.
    """

    group: Group = ALONE
    tiles: Tiles = field(default_factory=Tiles)
    place: CachePlace | None = None


@dataclass(frozen=True)
class ImageCache:
    """Half-plane samples of n images on the common grid, or of this process' share of them.

    Attributes
    ----------
    samples : (n, m) complex64
        Transforms of normalised images, protein bright; read from the disk where a plan says so.
    transfer : (n, m) float32
        CTF values; 1 everywhere for particles without a CTF.
    plane : HalfPlane
    pixel_size_A : float
        Of the common grid, whose box is plane.box_px.
    background_power : (shells,) float32
        Mean |Y|^2 per shell of what lies outside the particle, a first guess of the noise variance.
    flat_images : (k,) int64
        Rows of images without any contrast.
    optics : CtfParameters or None
        For CTF values elsewhere, of the same images; None without a CTF.
    share : Share
        Which rows of the whole set these are; `len` is that of the whole set.
    tiles : Tiles
    """

    samples: Tensor | StoredRows
    transfer: Tensor | StoredRows
    plane: HalfPlane
    pixel_size_A: float
    background_power: Tensor
    flat_images: Tensor
    optics: CtfParameters | None
    share: Share = field(default_factory=Share)
    tiles: Tiles = field(default_factory=Tiles)

    def __len__(self) -> int:
        return self.share.count if self.share.size > 1 else len(self.samples)

    @property
    def extent_A(self) -> float:
        """Side of the image: a Fourier pixel is 1 / extent."""
        return self.plane.box_px * self.pixel_size_A

    @property
    def is_on_disk(self) -> bool:
        """Whether the samples are read from the disk when they are looked at."""
        return isinstance(self.samples, StoredRows)

    def transfer_at(self, frequencies_px: Tensor, rows: Tensor | None = None) -> Tensor:
        """(n, k) float32 CTF values of all images or (n,) of them at (k, 2) frequencies in Fourier pixels."""
        count = len(self.samples) if rows is None else len(rows)
        if self.optics is None:
            return torch.ones(count, len(frequencies_px), device=self.samples.device)
        optics = self.optics if rows is None else self.optics[rows]
        scaled, at_once = frequencies_px.double() / self.extent_A, self.tiles.ingest
        values = torch.empty(count, len(scaled), device=self.samples.device)
        for start in range(0, count, at_once):
            here = slice(start, start + at_once)
            values[here] = evaluate_ctf(optics[here], scaled)
        return values

    def image_power(self) -> Tensor:
        """(shells,) mean |Y|^2 per shell over all images."""
        own = shell_power(self.samples, self.plane, self.tiles.local)
        return self.share.total(own * (len(self.samples) / len(self)))


def sample_plane(particles: Particles, radius_px: int | None = None) -> HalfPlane:
    """The samples that are kept of every image: up to a radius, by default all that the box has."""
    limit = (particles.box_px - 1) // 2
    return half_plane(particles.box_px, limit if radius_px is None else min(radius_px, limit))


def build_cache(
    particles: Particles,
    sign: int,
    circle_px: float,
    plan: CachePlan | None = None,
    progress: Callable[[int], None] = lambda done: None,
    device: torch.device | str = CPU,
) -> ImageCache:
    """Read, normalise and transform every image, or this process' share of them, on a device.

    Parameters
    ----------
    sign : int
        +1 when protein is bright in the images, -1 when it is dark.
    circle_px : float
        Radius of the circle outside which only background is expected, in pixels of the common grid.
    plan : CachePlan, optional
        In memory, by default.
    device : torch.device
        Where images are transformed and the cache lives; what is stored on the disk is read to it.

    Raises
    ------
    InputError
        A missing or truncated stack, pixels that are not numbers or too large.
    """
    plan = plan or CachePlan()
    device = torch.device(device)
    ingest = Ingest(particles, to_device(sample_plane(particles), device), sign, circle_px, device)
    share = plan.group.share_of(len(particles))
    holder = CacheMemory(share, ingest) if plan.place is None else open_files(plan.place, ingest, share)
    background, flat = torch.zeros(ingest.plane.radius_px + 1), list[int]()
    for start, stop in cut_at_multiples(*share.bounds, plan.tiles.ingest):
        known = holder.known(start, stop)
        if known is None:
            known, *pair = _read(ingest, start, stop)
            holder.store(known, *pair)
        for part in known.background:
            background += part
        flat += known.flat.tolist()
        progress((stop - share.bounds[0]) * share.size)
    samples, transfer = holder.arrays()
    return ImageCache(
        samples,
        transfer,
        ingest.plane,
        particles.pixel_size_A,
        (share.total(background) / len(particles)).to(device),
        share.joined(torch.tensor(flat, dtype=torch.long)).to(device),
        to_device(particles.optics[slice(*share.bounds)], device) if particles.has_ctf else None,
        share,
        plan.tiles,
    )


class CacheMemory:
    """Samples in memory, filled as CacheFiles are."""

    def __init__(self, share: Share, ingest: Ingest) -> None:
        self._first, end = share.bounds
        shape, device = (end - self._first, len(ingest.plane)), ingest.device
        self._samples = torch.empty(*shape, dtype=torch.complex64, device=device)
        self._transfer = torch.empty(*shape, device=device)

    def arrays(self) -> tuple[Tensor, Tensor]:
        """The samples and the transfer function of this process' share."""
        return self._samples, self._transfer

    def known(self, first: int, end: int) -> Stretch | None:
        """Nothing: memory starts empty."""
        return None

    def store(self, stretch: Stretch, samples: Tensor, transfer: Tensor) -> None:
        """Put a stretch in its place."""
        here = slice(stretch.first - self._first, stretch.end - self._first)
        self._samples[here], self._transfer[here] = samples, transfer


def cut_at_multiples(first: int, end: int, size: int) -> list[tuple[int, int]]:
    """Stretches of first to end that are cut at the multiples of a size, wherever a share begins."""
    inner = range((first // size + 1) * size, end, size)
    cuts = [first, *inner, end]
    return list(pairwise(cuts))


def _read(ingest: Ingest, start: int, stop: int) -> tuple[Stretch, Tensor, Tensor]:
    """The images of a stretch, in order."""
    groups = ingest.groups(start, stop)
    parts = [ingest.read(rows) for rows in groups]
    samples, transfer = parts[0].samples, parts[0].transfer
    if len(parts) > 1:
        order = torch.argsort(torch.cat(groups)).to(parts[0].samples.device)
        samples = torch.cat([part.samples for part in parts])[order]
        transfer = torch.cat([part.transfer for part in parts])[order]
    flat = torch.cat([part.flat for part in parts])
    return Stretch(start, stop, tuple(part.background for part in parts), flat), samples, transfer

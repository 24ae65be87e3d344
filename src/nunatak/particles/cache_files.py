"""The files of a cache on the disk: made in one pass, gone on with after a stop, checked before use."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nunatak.core.collective import Share, is_first_here
from nunatak.core.errors import require
from nunatak.io.atomic import write_json
from nunatak.io.ledger import add_line, read_lines
from nunatak.io.row_file import RowFile
from nunatak.particles.ingest import Ingest
from nunatak.particles.precision import Precision
from nunatak.particles.stored import StoredRows

SCHEMA = 1


@dataclass(frozen=True)
class CachePlace:
    """Where the samples of a set are stored, and how.

    Attributes
    ----------
    folder : Path
    precision : "float32" or "float16"
        float16 takes half the room and is read in half the time; its error is a thousandth of the noise's.
    """

    folder: Path
    precision: Precision = "float32"

    @property
    def dtype(self) -> np.dtype:
        """Type of the stored numbers."""
        return np.dtype(self.precision)

    def size_bytes(self, count: int, samples: int) -> int:
        """Of the files for so many images: real and imaginary part, and the CTF, of every sample."""
        return 3 * self.dtype.itemsize * count * samples


@dataclass(frozen=True)
class Stretch:
    """What is to be known of a stretch of images besides their samples.

    Attributes
    ----------
    first, end : int
        Rows of the particle file.
    background : tuple of (shells,) float32
        Sums of the background's power, one per optics group.
    flat : (f,) int64
        Rows of images without any contrast.
    """

    first: int
    end: int
    background: tuple[Tensor, ...]
    flat: Tensor


@dataclass(frozen=True)
class CacheFiles:
    """The files that this process' share is stored in; all processes may use one folder.

    Attributes
    ----------
    place : CachePlace
    share : Share
    samples, transfer : RowFile
        Row i is that of particle i.
    done : dict
        Stretches that a ledger says are stored, by their first row and the one after their last.
    """

    place: CachePlace
    share: Share
    samples: RowFile
    transfer: RowFile
    done: dict[tuple[int, int], dict[str, Any]]

    def arrays(self) -> tuple[StoredRows, StoredRows]:
        """The samples and the transfer function of this process' share."""
        first, end = self.share.bounds
        return StoredRows(self.samples, first, end, True), StoredRows(self.transfer, first, end, False)

    def known(self, first: int, end: int) -> Stretch | None:
        """A stretch that is stored and whole: its checksums are those of when it was written."""
        record = self.done.get((first, end))
        if record is None:
            return None
        found = [file.checksum(first, end - first) for file in (self.samples, self.transfer)]
        if found != record["checksums"]:
            return None
        background = tuple(torch.tensor(part, dtype=torch.float32) for part in record["background"])
        return Stretch(first, end, background, torch.tensor(record["flat"], dtype=torch.long))

    def store(self, stretch: Stretch, samples: Tensor, transfer: Tensor) -> None:
        """Write a stretch; the ledger says so when it is on the disk.

        Raises
        ------
        InputError
            A value is too large for the type that is stored.
        """
        arrays = self.arrays()
        pairs = zip(arrays, (samples, transfer), strict=True)
        record = {
            "rows": [stretch.first, stretch.end],
            "checksums": [array.write(stretch.first, values) for array, values in pairs],
            "background": [part.tolist() for part in stretch.background],
            "flat": stretch.flat.tolist(),
        }
        add_line(_ledger(self.place.folder, self.share.rank), record)


def _ledger(folder: Path, rank: int) -> Path:
    return folder / f"stored-{rank:05d}.jsonl"


def open_files(place: CachePlace, ingest: Ingest, share: Share) -> CacheFiles:
    """The files of a cache; what they hold of other images, or made in another way, is thrown away.

    Raises
    ------
    InputError
        There is no room for them.
    """
    folder, width = place.folder, len(ingest.plane)
    index = {"schema": SCHEMA, "made_from": _made_from(place, ingest)}
    # Each machine may have a folder of its own under this name, and all may have the same.
    if is_first_here() and _index(folder) != index:
        shutil.rmtree(folder, ignore_errors=True)
        _require_room(place, len(ingest.particles), width)
        write_json(folder / "index.json", index)
    # Nobody writes before the first processes have made room.
    share.agreed(torch.zeros(1))
    lines = [line for path in sorted(folder.glob("stored-*.jsonl")) for line in read_lines(path)]
    done = {(line["rows"][0], line["rows"][1]): line for line in lines if "rows" in line}
    return CacheFiles(
        place,
        share,
        RowFile(folder / f"samples.{place.precision}", 2 * width, place.dtype),
        RowFile(folder / f"transfer.{place.precision}", width, place.dtype),
        done,
    )


def _index(folder: Path) -> Any:
    try:
        return json.loads((folder / "index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _require_room(place: CachePlace, count: int, width: int) -> None:
    size = place.size_bytes(count, width)
    nearest = next(p for p in (place.folder.absolute(), *place.folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(nearest).free
    require(
        size < free,
        f"The images need {size / 1e9:.1f} GB on the disk of {place.folder}, which has {free / 1e9:.1f} GB "
        "left: make room, choose another disk (--cache-folder), or halve them (--cache-precision float16).",
    )


def _made_from(place: CachePlace, ingest: Ingest) -> str:
    """A digest of everything that the stored numbers depend on."""
    particles, plane = ingest.particles, ingest.plane
    digest = hashlib.sha256()
    plain = [
        *(
            place.precision,
            plane.box_px,
            plane.radius_px,
            particles.pixel_size_A,
            ingest.sign,
            ingest.circle_px,
        ),
        *(
            particles.group_pixel_size_A,
            particles.group_box_px,
            particles.has_ctf,
            particles.images.signature(),
        ),
    ]
    digest.update(json.dumps(plain).encode())
    columns = (getattr(particles.optics, field.name) for field in fields(particles.optics))
    for column in (particles.optics_group, *columns):
        digest.update(column.contiguous().numpy().tobytes())
    return digest.hexdigest()

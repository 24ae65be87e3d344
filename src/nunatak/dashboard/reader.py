"""One run's folder, read when asked and kept until its files change."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from nunatak.core.errors import InputError
from nunatak.dashboard.density import (
    MapBasis,
    ShownMap,
    finished_basis,
    mrc_bytes,
    running_basis,
    shown,
)
from nunatak.dashboard.run_library import NotFoundError
from nunatak.dashboard.table import RunTable, finished_table, running_table
from nunatak.export.run_contents import FscTable, read_fsc
from nunatak.io.mrc import read_map
from nunatak.particles.stack_images import StackImages
from nunatak.runs.execute import read_input
from nunatak.runs.job import read_config
from nunatak.runs.progress import read_checkpoint_head

Kept = TypeVar("Kept")

MAPS_KEPT = 48
"""Of 8 MB at box 128: a path and some clicks."""
STORED_MAPS = ("mean", "half1", "half2")


class RunReader:
    """What is shown of one run; safe to be called from several threads.

    Every getter raises InputError where a file is damaged, NotFoundError where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._kept: dict[str, tuple[Any, Any]] = {}
        self._maps: OrderedDict[tuple, ShownMap] = OrderedDict()
        self._lock = threading.RLock()

    @property
    def is_finished(self) -> bool:
        """Whether the run has written its results."""
        return (self.folder / "summary.json").exists() and (self.folder / "particles.star").exists()

    def table(self) -> RunTable:
        """Columns, latents and views of the particles."""
        if self.is_finished:
            return self._fresh("table", self._stamp("particles.star", "latents.npy", "volumes", "analysis"),
                               lambda: finished_table(self.folder))  # fmt: skip
        head = read_checkpoint_head(self.folder)
        found = (
            None if head is None else self._fresh("table", self._stamp(_INDEX), lambda: running_table(head))
        )
        if found is None:
            raise NotFoundError("No particle has a pose yet: the random starts come first.")
        return found

    def basis(self) -> MapBasis:
        """Mean and components of the run's maps."""
        if self.is_finished:
            stamp = self._stamp("model.safetensors", "mean.mrc")
            return self._fresh("basis", stamp, lambda: finished_basis(self.folder))
        head = read_checkpoint_head(self.folder)
        found = None
        if head is not None:
            found = self._fresh("basis", self._stamp(_INDEX), lambda: running_basis(head, self.extent_A()))
        if found is None:
            raise NotFoundError("There is no map yet: the first pass is not done.")
        return found

    def map_at(self, latent: NDArray) -> ShownMap:
        """V(z); the same position again is taken from memory."""
        basis = self.basis()
        key = (id(basis), *np.round(np.asarray(latent, float), 4))
        with self._lock:
            if key in self._maps:
                self._maps.move_to_end(key)
                return self._maps[key]
        content = mrc_bytes(basis.at(latent), basis.pixel_size_A)
        made = ShownMap(content, basis.level, basis.radius_A)
        with self._lock:
            self._maps[key] = made
            while len(self._maps) > MAPS_KEPT:
                self._maps.popitem(last=False)
        return made

    def stored_map(self, name: str) -> ShownMap:
        """The map mean, half1 or half2."""
        if name not in STORED_MAPS or not (self.folder / f"{name}.mrc").exists():
            raise NotFoundError(f"There is no map of that name; expected one of: {', '.join(STORED_MAPS)}.")
        density, pixel_size_A, _ = read_map(self.folder / f"{name}.mrc")
        return shown(density, pixel_size_A)

    def map_stamp(self) -> str:
        """A word that changes when there are newer maps or particles."""
        names = ("particles.star", "model.safetensors") if self.is_finished else (_INDEX,)
        return "-".join("0" if one is None else f"{one[0]:x}" for one in self._stamp(*names))

    def extent_A(self) -> float | None:
        """Edge of the box in angstrom, of a run that goes on from its particle file; None where unknown."""
        stamp = self._stamp("config.toml", "mean.mrc")
        return self._fresh("extent", stamp, self._read_extent)

    def fsc(self) -> FscTable | None:
        """Correlation of the half maps; of a run that goes on as far as its halves are apart."""
        if self.is_finished:
            return _finished_fsc(self.folder / "fsc.csv")
        head = read_checkpoint_head(self.folder)
        if head is None:
            return None
        try:
            with safe_open(head.tensors, framework="numpy") as stored:
                if "state.model.correlation" not in set(stored.keys()):
                    return None
                curve = stored.get_tensor("state.model.correlation")[0]
        except (OSError, SafetensorError, ValueError):
            return None
        extent_A = self.extent_A()
        shells = np.arange(1, len(curve))
        return None if extent_A is None else FscTable(shells / extent_A, curve[1:].astype(np.float64))

    def images(self, rows: NDArray) -> NDArray[np.float32]:
        """(k, d, d) particle images."""
        table = self.table()
        outside = [row for row in rows if not 0 <= row < table.count]
        if outside:
            raise NotFoundError(f"There is no particle {outside[0]}: the run has {table.count}.")
        return self._fresh("stacks", self._stamp("particles.star", "config.toml"), self._open_stacks).read(
            rows
        )

    def _open_stacks(self) -> StackImages:
        file = self.table().file
        if file is None:
            file = read_input(read_config(self.folder / "config.toml").input, require_images=False).table
        if file is None:
            raise NotFoundError("The run's particle file does not say where its images are.")
        return StackImages(file.locations)

    def _read_extent(self) -> float | None:
        if (self.folder / "mean.mrc").exists():
            density, pixel_size_A, _ = read_map(self.folder / "mean.mrc")
            return float(len(density) * pixel_size_A)
        try:
            particles = read_input(read_config(self.folder / "config.toml").input, require_images=False)
        except InputError:
            return None
        return float(particles.box_px * particles.pixel_size_A)

    def _stamp(self, *names: str) -> tuple:
        """Times and sizes of files: what is kept holds as long as these stay."""
        stats = [(path.stat() if (path := self.folder / name).exists() else None) for name in names]
        return tuple(None if found is None else (found.st_mtime_ns, found.st_size) for found in stats)

    def _fresh(self, what: str, stamp: Any, make: Callable[[], Kept]) -> Kept:
        with self._lock:
            kept = self._kept.get(what)
            if kept is None or kept[0] != stamp:
                kept = (stamp, make())
                self._kept[what] = kept
            return kept[1]


_INDEX = "checkpoint/current.json"


def _finished_fsc(path: Path) -> FscTable | None:
    try:
        return read_fsc(path)
    except (InputError, OSError, ValueError, KeyError, IndexError, TypeError):
        return None


class Readers:
    """A reader for each run folder that was asked about."""

    def __init__(self) -> None:
        self._readers: dict[Path, RunReader] = {}
        self._lock = threading.Lock()

    def of(self, folder: Path) -> RunReader:
        """The reader of a run folder."""
        with self._lock:
            return self._readers.setdefault(folder, RunReader(folder))

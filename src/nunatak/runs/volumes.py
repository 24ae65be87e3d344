"""Maps of a finished run at positions in its latent space."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from sklearn.cluster import KMeans

from nunatak.core.errors import InputError, require
from nunatak.io.atomic import write_npy, write_text
from nunatak.io.mrc import write_map
from nunatak.runs.curved import WIDTH, CurvedVolume
from nunatak.runs.trained import PLAN, TrainedVolume
from nunatak.volumes.fsc import resolution_A, shell_correlation


class LatentVolumes:
    """V(z) of a run: its trained volume or its curved landscape where it has one, else mean + sum_j z_j W_j.

    Attributes
    ----------
    maps : (1 + q, d, d, d) float32
        Mean and components of the linear model; every run has one in its latents.
    latents : (n, q) float32
    pixel_size_A : float
    curved : CurvedVolume or None

    Raises
    ------
    InputError
        The folder holds no finished run, or a damaged one.
    """

    def __init__(self, run_dir: Path | str) -> None:
        path, latents = Path(run_dir) / "model.safetensors", Path(run_dir) / "latents.npy"
        require(
            path.exists(),
            f"{run_dir} holds no finished run (model.safetensors is missing); use `nunatak resume` first.",
        )
        try:
            with safe_open(path, framework="pt") as stored:
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
                known = stored.metadata() or {}
            self.maps: NDArray[np.float32] = tensors["maps"].numpy()
            self.pixel_size_A = float(known["pixel_size_A"])
            self._trained: TrainedVolume | None = None
            if PLAN in known:
                self._trained = TrainedVolume(tensors, known, self.maps.shape[-1])
            self.curved: CurvedVolume | None = None
            if WIDTH in known:
                self.curved = CurvedVolume(tensors, known, self.maps.shape[-1])
            if self.latent_dim:
                self.latents = np.load(latents, allow_pickle=False)
            else:
                self.latents = np.zeros((int(known["particles"]), 0), np.float32)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{run_dir} is a damaged run ({error}): `nunatak resume {run_dir}` writes its results again."
            ) from error

    @property
    def latent_dim(self) -> int:
        """Dimensions of the latent; 0 for a homogeneous run."""
        return len(self.maps) - 1

    def at(self, latent: NDArray) -> NDArray[np.float32]:
        """(d, d, d) map at a (q,) position."""
        require(
            len(latent) == self.latent_dim,
            f"A latent position of this run has {self.latent_dim} numbers; got {len(latent)}.",
        )
        if self._trained is not None:
            return self._trained.at(latent)
        if self.curved is not None:
            return self.curved.at(latent)
        return self.maps[0] + np.tensordot(np.asarray(latent, np.float32), self.maps[1:], 1)

    def halves_at(self, latent: NDArray) -> NDArray[np.float32]:
        """(2, d, d, d) maps of the half-sets at a (q,) position, not filtered.

        Raises
        ------
        InputError
            The run keeps none: it has no curved landscape.
        """
        if self.curved is None:
            raise InputError(
                "This run keeps no half-maps at latent positions: they come with a curved landscape "
                "(recipes nunatak and fixed-poses, --landscape-functions 1 or more)."
            )
        return self.curved.halves_at(latent)


def _write(
    volumes: LatentVolumes, out: Path, named: Iterable[tuple[str, NDArray]], halves: bool = False
) -> list[Path]:
    """Maps; with their half-maps, and resolutions.csv of the FSC between these, where they are asked for."""
    if halves:
        volumes.halves_at(np.zeros(volumes.latent_dim))
    out.mkdir(parents=True, exist_ok=True)
    written, resolutions = [], ["map,resolution_A"]
    for name, latent in named:
        write_map(out / name, volumes.at(latent), volumes.pixel_size_A)
        written.append(out / name)
        if halves:
            pair = volumes.halves_at(latent)
            for number, half in enumerate(pair, 1):
                write_map(out / name.replace(".mrc", f"_half{number}.mrc"), half, volumes.pixel_size_A)
            correlation = shell_correlation(*torch.from_numpy(pair)[:, None])[0]
            extent_A = pair.shape[-1] * volumes.pixel_size_A
            found_A = resolution_A(correlation, extent_A)
            resolutions.append(f"{name},{'' if found_A is None else f'{found_A:.2f}'}")
    if halves:
        write_text(out / "resolutions.csv", "\n".join(resolutions) + "\n")
    return written


def write_volumes_at_particles(
    run_dir: Path, out: Path, particles: Iterable[int], halves: bool = False
) -> list[Path]:
    """vol_000123.mrc for each 0-based particle index; vol_000123_half1.mrc and _half2.mrc where asked for."""
    volumes = LatentVolumes(run_dir)
    rows = list(particles)
    count = len(volumes.latents)
    wrong = [row for row in rows if not 0 <= row < count]
    if wrong:
        raise InputError(f"There is no particle {wrong[0]}: expected indices from 0 to {count - 1}.")
    return _write(volumes, out, [(f"vol_{row:06d}.mrc", volumes.latents[row]) for row in rows], halves)


def write_volumes_at_latents(
    run_dir: Path, out: Path, positions: NDArray, halves: bool = False
) -> list[Path]:
    """vol_000000.mrc, ... for the rows of (k, q) positions."""
    volumes = LatentVolumes(run_dir)
    require(
        positions.ndim == 2 and positions.shape[1] == volumes.latent_dim and positions.dtype.kind in "fiu",
        f"Latent positions of this run are a (k, {volumes.latent_dim}) array of numbers; got "
        f"{positions.dtype} of shape {positions.shape}.",
    )
    return _write(volumes, out, [(f"vol_{i:06d}.mrc", z) for i, z in enumerate(positions)], halves)


def cluster_latents(latents: NDArray, count: int, seed: int = 0) -> tuple[NDArray, NDArray]:
    """(n,) labels and (count, q) centres by k-means; each centre is moved to the nearest particle.

    A centre may lie where there are no particles; a particle never does.
    """
    require(0 < count <= len(latents), f"{count} clusters of {len(latents)} latents cannot be made.")
    fitted = KMeans(count, n_init=4, random_state=seed).fit(latents)
    nearest = [int(np.argmin(((latents - centre) ** 2).sum(1))) for centre in fitted.cluster_centers_]
    return fitted.labels_, latents[nearest]


def write_volumes_at_clusters(
    run_dir: Path, out: Path, count: int, seed: int = 0, halves: bool = False
) -> list[Path]:
    """kmeans_00.mrc, ... at the particles nearest to k-means centres; kmeans_labels.npy beside them."""
    volumes = LatentVolumes(run_dir)
    require(volumes.latent_dim > 0, "A homogeneous run has no latents to cluster.")
    labels, centres = cluster_latents(volumes.latents, count, seed)
    written = _write(volumes, out, [(f"kmeans_{i:02d}.mrc", z) for i, z in enumerate(centres)], halves)
    write_npy(out / "kmeans_labels.npy", labels.astype(np.int32))
    return written


def write_path(
    run_dir: Path, out: Path, component: int = 0, count: int = 10, halves: bool = False
) -> list[Path]:
    """path_00.mrc, ...: along one latent component, from its 2nd to its 98th percentile.

    Positions are means of particles in bins of equal number, so each map stands for particles that exist.
    """
    volumes = LatentVolumes(run_dir)
    require(volumes.latent_dim > 0, "A homogeneous run has no latents to go along.")
    if not 0 <= component < volumes.latent_dim:
        raise InputError(f"There is no latent component {component}: expected 0 to {volumes.latent_dim - 1}.")
    order = np.argsort(volumes.latents[:, component])
    inner = order[int(0.02 * len(order)) : max(int(0.98 * len(order)), 1)]
    bins = np.array_split(inner, min(count, len(inner)))
    means = [(f"path_{i:02d}.mrc", volumes.latents[rows].mean(0)) for i, rows in enumerate(bins)]
    return _write(volumes, out, means, halves)

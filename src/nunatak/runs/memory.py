"""Memory of a run: what there is, what is planned and said before it begins, and where the images go."""

from __future__ import annotations

import json
import math
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from nunatak.core.collective import Group, local_processes
from nunatak.core.device import CPU, free_bytes, is_host
from nunatak.core.errors import InputError
from nunatak.io.atomic import write_json
from nunatak.particles.cache import CachePlan, Tiles, sample_plane
from nunatak.particles.cache_files import CachePlace
from nunatak.particles.dataset import Particles
from nunatak.reconstruct.memory import LARGEST_ON_A_GPU, SMALLEST, MemoryPlan, Workload, choose, predict
from nunatak.reconstruct.state import limit_radius_px, starts_config
from nunatak.runs.job import JobConfig
from nunatak.search.slice_bank import scores_by_residue, scoring_dtype

# Of what is free, when no limit is given: others want some too.
_SHARE = 0.9
# Controller as /proc/self/cgroup names it, its mount, and the files of limit and use: versions 2 and 1.
_CONTROL_GROUPS = (
    ("", "/sys/fs/cgroup", "memory.max", "memory.current"),
    ("memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


@dataclass(frozen=True)
class Provision:
    """How the images of a run are held, as decided.

    Attributes
    ----------
    cache : CachePlan
    memory : MemoryPlan
    most_latents : int
        Of those that may be counted, as many as there is room for.
    sentence : str
        What is expected, for the user.
    """

    cache: CachePlan
    memory: MemoryPlan
    most_latents: int
    sentence: str


def resident_bytes() -> int:
    """Memory that this process has now; its peak so far where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def free_memory_bytes() -> int | None:
    """What this process may still take: of the machine, of its control group, of its resource limits."""
    return min(_free_amounts(), default=None)


def _free_amounts() -> Iterator[int]:
    available = _status_bytes(Path("/proc/meminfo"), "MemAvailable:")
    if available is not None:
        yield available
    for folder, limit, use in _control_groups(Path("/proc/self/cgroup")):
        most, taken = _number(folder / limit), _number(folder / use)
        if most is not None and taken is not None:
            # What is kept of files is given up when it is needed.
            yield max(most - max(taken - _kept_of_files(folder), 0), 0)
    for kind, name in ((resource.RLIMIT_DATA, "VmData:"), (resource.RLIMIT_AS, "VmSize:")):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            yield max(soft - (_status_bytes(Path("/proc/self/status"), name) or 0), 0)


def _status_bytes(path: Path, name: str) -> int | None:
    """The value of a line `name  NUMBER kB`."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(name)), None)


def _control_groups(listed: Path) -> Iterator[tuple[Path, str, str]]:
    """Folder, and names of the files of limit and use, of this process' control group and those above it.

    A batch system limits a group far below the mount; in a container the mount is the group.
    """
    try:
        lines = [line.split(":", 2) for line in listed.read_text().splitlines()]
    except OSError:
        lines = []
    own = {
        name: path
        for _, names, path in (line for line in lines if len(line) == 3)
        for name in names.split(",")
    }
    for controller, mount, limit, use in _CONTROL_GROUPS:
        inside = Path(own.get(controller, "/").lstrip("/"))
        for folder in (inside, *inside.parents):
            yield Path(mount) / folder, limit, use


def _kept_of_files(folder: Path) -> int:
    """Of a control group's memory, what the system keeps of files that nobody has looked at lately."""
    try:
        lines = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return int(lines.get("total_inactive_file", lines.get("inactive_file", 0)))
    except (OSError, ValueError):
        return 0


def _number(path: Path) -> int | None:
    """The number that a file of a control group holds; None where it says "max" or is not there."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def provide(
    job: JobConfig, particles: Particles, group: Group, folder: Path, device: torch.device = CPU
) -> Provision:
    """Decide how the images are held, from what the job asks for and what memory there is.

    On a GPU its memory counts as well as the machine's: samples that are not on the disk are in both. Where
    the latent dimensions are to be counted and memory is short, fewer of them may be found.

    Raises
    ------
    InputError
        Even the smallest tiles, with the images on the disk, take more than the limit.
    """
    asked, base = job.memory, resident_bytes()
    on_disk = {"memory": False, "disk": True}.get(asked.cache)
    limit = _limit_bytes(asked.memory_limit_GB, base, group, device)
    begun, largest = _begun(folder), None if is_host(device) else LARGEST_ON_A_GPU
    # A run that goes on keeps what it began with: it is refused, not changed.
    for latents in _fewer_latents(job) if begun is None else (job.engine.most_latents,):
        work = _workload(job, particles, group, latents, device)
        plan = None if begun is None else predict(work, begun[0], begun[1], base)
        if plan is None or plan.peak_bytes > limit:
            plan = choose(work, limit, base, on_disk, largest)
        if plan is not None:
            break
    else:
        least = predict(work, SMALLEST, on_disk is not False, base).peak_bytes
        raise InputError(_too_little(work, limit, least, on_disk))
    # Processes may have different amounts of memory; their models must have one size.
    latents = int(group.joined(torch.tensor([latents], device=device)).min())
    place = None
    if plan.on_disk:
        place = CachePlace((asked.cache_folder or folder / "cache").absolute(), asked.cache_precision)
    said = _sentence(plan, place, particles)
    if latents < job.engine.most_latents:
        said += f"; there is room for {latents} latent dimensions and not {job.engine.most_latents}"
    return Provision(CachePlan(group, plan.tiles, place), plan, latents, said)


def _fewer_latents(job: JobConfig) -> range:
    """As many dimensions as the job may have, and fewer where they are to be counted."""
    most = job.engine.most_latents
    return range(most, 0, -1) if job.engine.counts_latents else range(most, most - 1, -1)


def _limit_bytes(asked_GB: float | None, base: int, group: Group, device: torch.device) -> float:
    """What this process may take: as asked for, else most of what is free."""
    if asked_GB is not None:
        return 1e9 * asked_GB
    free = free_memory_bytes()
    shared = math.inf if free is None else free / (local_processes() if group.size > 1 else 1)
    return base + _SHARE * min(shared, math.inf if is_host(device) else free_bytes(device))


def write_plan(folder: Path, plan: MemoryPlan) -> None:
    """Write plan.json: what is expected, and the tiles, which a run that goes on takes again."""
    content = {
        "predicted_memory_MB": round(plan.peak_bytes / 1e6, 1),
        "parts_MB": {name: round(amount / 1e6, 1) for name, amount in plan.parts.items()},
        "tiles": asdict(plan.tiles),
        "on_disk": plan.on_disk,
    }
    write_json(folder / "plan.json", content)


def _begun(folder: Path) -> tuple[Tiles, bool] | None:
    """Tiles, and whether the images stay on the disk, as a run began: other tiles are other roundings."""
    try:
        content = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        return Tiles(**{name: int(size) for name, size in content["tiles"].items()}), bool(content["on_disk"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _workload(
    job: JobConfig, particles: Particles, group: Group, latents: int, device: torch.device
) -> Workload:
    first, end = group.share_of(len(particles)).bounds
    plane, pixel_A = sample_plane(particles), particles.pixel_size_A
    limit_px = limit_radius_px(job.engine, plane.radius_px, plane.box_px * pixel_A)
    search = starts_config(job.engine, plane, pixel_A, len(particles)) if job.command == "abinit" else None
    functions = job.engine.landscape_functions if latents else 0
    threads = torch.get_num_threads()
    size = end - first, len(particles), plane.box_px, limit_px
    by_residue = scores_by_residue(scoring_dtype(device))
    return Workload(*size, latents, search, functions, threads, by_residue)


def _sentence(plan: MemoryPlan, place: CachePlace | None, particles: Particles) -> str:
    largest = sorted(plan.parts.items(), key=lambda part: -part[1])[:2]
    named = ", ".join(f"{name} {amount / 1e9:.2f}" for name, amount in largest)
    said = f"memory: at most {plan.peak_bytes / 1e9:.2f} GB are expected ({named})"
    if place is None:
        return said
    size = place.size_bytes(len(particles), len(sample_plane(particles)))
    return f"{said}; the images take {size / 1e9:.2f} GB on the disk, in {place.folder}"


def _too_little(work: Workload, limit: float, least: int, on_disk: bool | None) -> str:
    remedy = "let --cache be auto, " if on_disk is False else ""
    latents = f"{work.latent_dim} latent dimension{'' if work.latent_dim == 1 else 's'}"
    return (
        f"{limit / 1e9:.2f} GB of memory are too little for {work.total:,} images of {work.box_px} px with "
        f"{latents}: at least {least / 1e9:.2f} GB were expected; {remedy}raise --memory-limit, or give a "
        "coarser --resolution-limit-A or fewer --latent-dim."
    )

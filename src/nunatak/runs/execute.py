"""Start a run, or go on with one: read, compute with checkpoints, write the folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from nunatak import __version__
from nunatak.core.collective import Group
from nunatak.core.device import CPU, limit_gpu_memory, to_device
from nunatak.core.errors import InputError, require
from nunatak.io.atomic import write_text
from nunatak.io.particle_file import GivenOptics
from nunatak.particles.checks import require_ctf, require_enough, require_poses
from nunatak.particles.dataset import Particles
from nunatak.particles.reading import read_particles
from nunatak.reconstruct.loop import Listener, run
from nunatak.reconstruct.prepare import prepare
from nunatak.reconstruct.recipes import find_recipe
from nunatak.reconstruct.stages import Plan, PoseSource
from nunatak.reconstruct.state import Context, RunState
from nunatak.runs.checkpoint import load_checkpoint, save_checkpoint
from nunatak.runs.folder import RunReport, append_history, write_results
from nunatak.runs.job import Device, InputConfig, JobConfig, config_text, read_config
from nunatak.runs.limits import require_contrast, require_free, require_sensible
from nunatak.runs.machine import meet, peak_gpu_memory_MB, peak_memory_MB, use_machine
from nunatak.runs.memory import Provision, provide, write_plan


@dataclass
class CheckpointListener:
    """Saves the state after every pass, and the new lines of history."""

    folder: Path
    began: float
    elapsed_before_s: float = 0.0

    def elapsed_s(self) -> float:
        """Seconds of computing, those before a stop included."""
        return self.elapsed_before_s + time.monotonic() - self.began

    def on_progress(self, progress: object) -> None:
        """Nothing: progress within a pass is not kept."""

    def on_pass(self, state: RunState, stage: str) -> None:
        """Checkpoint, then history: a line of history is never of a pass that would be repeated."""
        save_checkpoint(self.folder / "checkpoint", state, self.elapsed_s())
        append_history(self.folder, state, self.elapsed_s())


def read_input(config: InputConfig, require_images: bool = True) -> Particles:
    """The particles of a job; without `require_images`, stacks may be missing until they are read."""
    defocus = config.defocus_A
    optics = GivenOptics(
        voltage_kV=config.voltage_kV,
        spherical_aberration_mm=config.spherical_aberration_mm,
        amplitude_contrast=config.amplitude_contrast,
        defocus_u_A=defocus,
        defocus_v_A=defocus,
        astigmatism_angle_deg=None if defocus is None else 0.0,
    )
    return read_particles(
        config.particles,
        config.datadir,
        pixel_size_A=config.pixel_size_A,
        optics=optics,
        no_ctf=config.no_ctf,
        passthrough=config.passthrough,
        require_images=require_images,
    )


def _prepare(
    job: JobConfig, device: torch.device, group: Group, folder: Path, say: Callable[[str], None]
) -> Prepared:
    """Everything that can be refused is refused here, the cheapest first and before any folder is made."""
    plan = recipe_of(job)
    require(
        plan.shared or group.size == 1,
        f"The recipe '{plan.name}' computes in one process: start it without torchrun, or take the default.",
    )
    particles = read_input(job.input)
    require_enough(particles)
    if not job.input.no_ctf:
        require_ctf(particles)
    if job.command != "abinit":
        require_poses(particles)
    require_sensible(particles, job.engine)
    plan.check(job.engine, particles)
    limit_GB = job.memory.memory_limit_GB
    limit_gpu_memory(device, None if limit_GB is None else 1e9 * limit_GB)
    provision = provide(job, particles, group, folder, device)
    on_disk = provision.memory.on_disk
    if on_disk:
        say(provision.sentence)
    if job.engine.counts_latents:
        engine = job.engine.model_copy(update={"most_latent_dim": provision.most_latents})
        job = job.model_copy(update={"engine": engine})
    use_poses = job.command != "abinit"
    context = prepare(particles, job.engine, use_poses, device=device, plan=provision.cache)
    require_contrast(context.cache)
    if not on_disk:  # nothing is said beside the one sentence that refuses an image
        say(provision.sentence)
    return Prepared(job, particles, context, provision)


@dataclass(frozen=True)
class Prepared:
    """A job that can begin, as memory allows: its particles, its images read, and how they are held."""

    job: JobConfig
    particles: Particles
    context: Context
    provision: Provision


def recipe_of(job: JobConfig) -> Plan:
    """The stages that a job goes through."""
    poses = PoseSource.FOUND if job.command == "abinit" else PoseSource.GIVEN
    return find_recipe(job.engine.recipe, poses).plan(job.engine)


def start_run(
    job: JobConfig,
    folder: Path,
    command: str,
    listeners: Sequence[Listener] = (),
    say: Callable[[str], None] = lambda sentence: None,
) -> RunReport:
    """Run a job from the beginning into a folder; a folder that holds a run is not overwritten.

    Where several processes share the run, every one of them calls this, and the first one alone writes.

    Raises
    ------
    InputError
        The folder already holds a run, or the input cannot be used; nothing is written then.
    """
    # The number of threads is part of the numbers: sums in another order are other sums.
    device, threads = use_machine(job.device, job.threads)
    group = meet(device)
    if group.is_first:
        require_free(folder)
    job = job.model_copy(update={"input": _absolute(job.input), "threads": threads})
    prepared = _prepare(job, device, group, folder, say)
    if group.is_first:
        folder.mkdir(parents=True, exist_ok=True)
        write_plan(folder, prepared.provision.memory)
        write_text(folder / "command.txt", command + "\n")
        write_text(folder / "config.toml", config_text(prepared.job))
    return _go_on(folder, prepared, RunState(), 0.0, listeners)


def _absolute(config: InputConfig) -> InputConfig:
    """The same input for a command that is given in another folder."""
    paths = {name: getattr(config, name) for name in ("particles", "datadir", "passthrough")}
    return config.model_copy(update={name: p.absolute() for name, p in paths.items() if p is not None})


def resume_run(
    folder: Path,
    listeners: Sequence[Listener] = (),
    threads: int = 0,
    seed: int | None = None,
    device: Device | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> RunReport:
    """Go on from the last checkpoint, to the same numbers as without the stop.

    Parameters
    ----------
    threads : int
        0 takes as many as the run began with; with another number the last digits differ.
    seed : int or None
        Where it is given, it must be the run's.
    device : "auto", "cpu", "cuda" or None
        None computes where the run was told to begin; elsewhere the last digits differ.
    say : function of a sentence
        Told what is expected.

    Raises
    ------
    InputError
        The folder holds no run, or a damaged one, or its particle file has changed.
    """
    job = read_config(folder / "config.toml")
    begun = job.engine.seed
    require(seed in (None, begun), f"{folder} began with --seed {begun}: it cannot go on with {seed}.")
    chosen, _ = use_machine(device or job.device, threads or job.threads)
    group = meet(chosen)
    saved = load_checkpoint(folder / "checkpoint", chosen)
    state, elapsed = saved if saved is not None else (RunState(), 0.0)
    told: list[str] = []
    prepared = _prepare(job, chosen, group, folder, told.append)
    held = len(prepared.particles)
    expected = held if state.model is None else len(state.model.candidates)
    require(
        held == expected,
        f"{job.input.particles} has {held} particles, the run began with {expected}: the file has changed; "
        "start anew.",
    )
    for sentence in told:  # not beside the one sentence that refuses a file
        say(sentence)
    if group.is_first:
        for part in folder.glob(".*.part"):  # what a kill left of a file that was being written
            part.unlink(missing_ok=True)
        append_history(folder, state, elapsed)
    return _go_on(folder, prepared, state, elapsed, listeners)


def _go_on(
    folder: Path,
    prepared: Prepared,
    state: RunState,
    elapsed_s: float,
    listeners: Sequence[Listener],
) -> RunReport:
    job, context = prepared.job, prepared.context
    keeper = CheckpointListener(folder, time.monotonic(), elapsed_s)
    speaks, predicted = context.cache.share.is_first, prepared.provision.memory.peak_bytes / 1e6
    state = to_device(run(recipe_of(job), context, state, [keeper, *listeners] if speaks else []), CPU)
    typed = folder / "command.txt"
    command = typed.read_text().strip() if typed.exists() else ""
    report = RunReport(
        job,
        state,
        context.warnings,
        keeper.elapsed_s(),
        peak_memory_MB(),
        __version__,
        command,
        predicted,
        peak_gpu_memory_MB(context.device),
    )
    if speaks:
        write_results(folder, prepared.particles, context.cache, report)
        # In the run's own folder nobody needs the samples any more.
        shutil.rmtree(folder / "cache", ignore_errors=True)
    return report


def save_run(state: RunState, particles: Particles, context: Context, folder: Path | str) -> Path:
    """Write a run folder for a run that was made from Python; the folder.

    Raises
    ------
    InputError
        The particles did not come from a file, so that there are no rows to write back.
    """
    table = particles.table
    if table is None:
        raise InputError(
            "These particles did not come from a file: use nunatak.read_particles to have a run folder."
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    job = JobConfig(input=InputConfig(particles=table.path.resolve()), engine=context.config)
    write_text(folder / "config.toml", config_text(job))
    append_history(folder, state, 0.0)
    state = to_device(state, CPU)
    report = RunReport(job, state, context.warnings, 0.0, peak_memory_MB(), __version__, "from Python")
    write_results(folder, particles, context.cache, report)
    return folder

"""A whole simulated particle set: draw the truth, project it, add noise.

Every random quantity has a generator of its own, made from the seed, so that two sets that differ only in
noise, say, have the same poses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from nunatak.core.errors import require
from nunatak.core.fourier import half_plane, images_from_samples
from nunatak.geometry.rotations import random_rotations
from nunatak.optics.ctf import CtfParameters, evaluate_ctf
from nunatak.particles.dataset import MemoryImages, Particles
from nunatak.particles.truth import Truth
from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.optics_model import (
    draw_contrast,
    draw_junk,
    draw_noise,
    draw_optics,
    draw_shifts_A,
    junk_image,
    noise_spectrum,
)
from nunatak.simulate.project import make_projector, project, projection_mass
from nunatak.simulate.states import build_states

BATCH = 256
STREAMS = ("labels", "poses", "shifts", "optics", "contrast", "junk", "junk images", "noise")


@dataclass(frozen=True)
class Simulation:
    """A simulated set and what it really is.

    Attributes
    ----------
    images : (n, box, box) float32
        Noise of variance 1; an array, or one that lies on disk.
    optics : CtfParameters
    micrographs : (n,) int64
        Number of the micrograph that each particle lies on.
    truth : Truth
    """

    images: np.ndarray
    optics: CtfParameters
    micrographs: np.ndarray
    truth: Truth


def simulate(
    config: SimulationConfig,
    allocate: Callable[[tuple[int, int, int], float], np.ndarray] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Simulation:
    """Simulate a particle set.

    The true volumes are scaled such that the noise has variance 1: an image is exactly contrast * CTF *
    shift * projection of its volume, plus noise.

    Parameters
    ----------
    config : SimulationConfig
    allocate : callable, optional
        Makes the array for the images from its shape and the pixel size in A, such as a memory-mapped
        file; it is filled state by state, then in order.
    progress : callable, optional
        Called with the fraction done.

    Raises
    ------
    InputError
        When the structures or their motion make no sense; see build_states.
    """
    drawn = _draw(config)
    shape = (config.particles, config.box_px, config.box_px)
    pixel_size_A = drawn.truth.pixel_size_A
    images = np.empty(shape, np.float32) if allocate is None else allocate(shape, pixel_size_A)
    drawn = replace(drawn, images=images)
    report = progress or (lambda fraction: None)
    signal_sd = _fill_clean(drawn, report)
    noise_sd = signal_sd / np.sqrt(config.snr) if np.isfinite(config.snr) else signal_sd
    _add_junk_and_noise(drawn, config, (signal_sd, noise_sd), report)
    truth = replace(drawn.truth, volumes=drawn.truth.volumes / noise_sd)
    return replace(drawn, truth=truth)


def simulate_particles(config: SimulationConfig) -> tuple[Particles, Truth]:
    """Simulate a particle set in memory, ready for the engine: no poses, one optics group.

    Raises
    ------
    InputError
        See simulate.
    """
    simulation = simulate(config)
    particles = Particles(
        images=MemoryImages(simulation.images),
        optics=simulation.optics,
        optics_group=torch.zeros(config.particles, dtype=torch.int64),
        group_pixel_size_A=(simulation.truth.pixel_size_A,),
        group_box_px=(config.box_px,),
    )
    return particles, simulation.truth


def clean_images(truth: Truth, optics: CtfParameters, rows: Tensor) -> Tensor:
    """What the given particles would look like without noise and junk.

    Returns
    -------
    (k, box, box) float32
        Frequencies up to box // 2 - 1 (in 1 / (box * pixel size)) and the mean.
    """
    images = torch.empty(len(rows), truth.box_px, truth.box_px)
    for state in truth.labels[rows].unique().tolist():
        own = truth.labels[rows] == state
        images[own] = _project_state(truth, optics, rows[own], state)
    return images


def _stream(config: SimulationConfig, name: str) -> np.random.Generator:
    """The generator of one random quantity."""
    return np.random.default_rng([config.seed, STREAMS.index(name)])


def _draw(config: SimulationConfig) -> Simulation:
    """Everything but the images."""
    states = build_states(config)
    occupancy = _occupancy(config, len(states.coordinates))
    labels = _stream(config, "labels").choice(len(occupancy), config.particles, p=occupancy)
    poses = torch.Generator().manual_seed(int(_stream(config, "poses").integers(2**62)))
    optics, micrographs = draw_optics(config, _stream(config, "optics"))
    box_A = config.box_px * states.pixel_size_A
    truth = Truth(
        rotations=random_rotations(config.particles, poses),
        shifts_A=draw_shifts_A(config, box_A, _stream(config, "shifts")),
        labels=torch.from_numpy(labels),
        coordinates=states.coordinates,
        junk=draw_junk(config, _stream(config, "junk")),
        contrast=draw_contrast(config, _stream(config, "contrast")),
        volumes=states.volumes,
        pixel_size_A=states.pixel_size_A,
    )
    return Simulation(np.empty(0, np.float32), optics, micrographs, truth)


def _occupancy(config: SimulationConfig, states: int) -> np.ndarray:
    """(states,) probabilities."""
    weights = np.array(config.occupancy or (1.0,), float)
    require(
        bool((weights >= 0).all() and weights.sum() > 0 and np.isfinite(weights).all()),
        f"--occupancy should be positive numbers, but is {config.occupancy}; change it.",
    )
    if len(weights) == 1 or config.motion == "hinge":
        weights = np.interp(np.linspace(0, 1, states), np.linspace(0, 1, len(weights)), weights)
    require(
        len(weights) == states and weights.sum() > 0,
        f"--occupancy should have one number per state, {states}, but has {len(weights)}; change it.",
    )
    return weights / weights.sum()


def _project_state(truth: Truth, optics: CtfParameters, rows: Tensor, state: int) -> Tensor:
    """(k, box, box) clean images of particles that share a state."""
    box = truth.box_px
    plane = half_plane(box, box // 2 - 1)
    projector, mass = make_projector(truth.volumes[state]), projection_mass(truth.volumes[state])
    frequencies_per_A = plane.frequencies.float() / (box * truth.pixel_size_A)
    at_zero = evaluate_ctf(optics[rows], torch.zeros(1, 2))[:, 0] * mass / box
    batches = []
    for own, zero in zip(rows.split(BATCH), at_zero.split(BATCH), strict=True):
        samples = project(projector, truth.rotations[own], plane) * evaluate_ctf(
            optics[own], frequencies_per_A
        )
        angle = 2 * torch.pi * truth.shifts_A[own] @ frequencies_per_A.T
        samples = samples * torch.polar(torch.ones_like(angle), angle)
        image = images_from_samples(samples, plane) + zero[:, None, None]
        batches.append(image * truth.contrast[own][:, None, None])
    return torch.cat(batches)


def _fill_clean(drawn: Simulation, report: Callable[[float], None]) -> float:
    """Fill the images with clean projections, junk and all; standard deviation of those at contrast 1."""
    truth, done, power = drawn.truth, 0, 0.0
    for state in truth.labels.unique().tolist():
        rows = torch.nonzero(truth.labels == state)[:, 0]
        for some in rows.split(16 * BATCH):
            clean = _project_state(truth, drawn.optics, some, state)
            variance = clean.var((1, 2), unbiased=False) / truth.contrast[some] ** 2
            power, done = power + float(variance.double().sum()), done + len(some)
            drawn.images[some.numpy()] = clean.numpy()
            report(0.7 * done / len(truth))
    return float(np.sqrt(power / len(truth)))


def _add_junk_and_noise(
    drawn: Simulation, config: SimulationConfig, scales: tuple[float, float], report: Callable[[float], None]
) -> None:
    """Replace junk, scale the noise's deviation to 1 and add it; `scales` are those of signal and noise."""
    signal_sd, noise_sd = scales
    noise, junk = _stream(config, "noise"), _stream(config, "junk images")
    spectrum = noise_spectrum(config, drawn.truth.pixel_size_A)
    for begin in range(0, config.particles, BATCH):
        end = min(begin + BATCH, config.particles)
        images = np.array(drawn.images[begin:end])
        for row in np.flatnonzero(drawn.truth.junk[begin:end].numpy()):
            images[row] = junk_image(config.box_px, signal_sd, junk)
        images /= noise_sd
        if np.isfinite(config.snr):
            images += draw_noise(end - begin, spectrum, noise)
        drawn.images[begin:end] = images
        report(0.7 + 0.3 * end / config.particles)

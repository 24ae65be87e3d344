#!/usr/bin/env python3
"""What could be known at best: poses and states of simulated particles, found with the true maps.

    python benchmarks/oracle.py SIMULATED --images 1000

Each image is refined from its true pose against every true map, and the map that explains it best is its
state: no search and no map of one's own can do better. Prints the median rotation error with the state known
and unknown, and how often the state is right (of a motion: its correlation with the truth).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import numpy as np
import torch
from child import machine, report
from torch import Tensor

from nunatak.core.device import to_device
from nunatak.geometry.rotations import geodesic_deg
from nunatak.particles.reading import read_particles
from nunatak.particles.truth import Truth, read_truth
from nunatak.projection.gridding import block_from_maps
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.model import images_within
from nunatak.reconstruct.prepare import prepare
from nunatak.reconstruct.state import Context
from nunatak.runs.machine import use_machine
from nunatak.search.candidates import Candidates, without_deviation
from nunatak.search.local import LocalFit, LocalPrior, LocalSearch
from nunatak.volumes.maps import change_box

STEPS = 5
MOST_STATES = 25


@dataclass(frozen=True)
class Bound:
    """Figures of the oracle.

    Attributes
    ----------
    rot_known_state_median_deg, rot_median_deg : float
        With the state given, and with the state that explains each image best.
    state : float
        Share of states that are right; along a motion the correlation of the coordinate.
    """

    rot_known_state_median_deg: float
    rot_median_deg: float
    state: float


def _fit(maps: Tensor, context: Context, rows: Tensor, start: Candidates) -> LocalFit:
    radius = context.limit_px
    images = images_within(context.cache, rows, radius)
    prior = LocalPrior(shift_sd_px=3.0, scale_sd=context.config.contrast_sd)
    return LocalSearch(block_from_maps(maps, radius), images, 2 / context.noise_variance, prior).refine(
        start, STEPS
    )


def _scale(context: Context, rows: Tensor, start: Candidates, mean: Tensor) -> float:
    """Factor from the true maps to the normalised images, by regression at the true poses."""
    radius = context.limit_px
    images = images_within(context.cache, rows, radius)
    # Of a scale within the search's bounds, whatever the maps' units are.
    unit = float(images.samples.abs().mean()) / float(mean.abs().sum())
    found = unit
    for _ in range(8):
        search = LocalSearch(
            block_from_maps(mean[None] * found, radius),
            images,
            2 / context.noise_variance,
            LocalPrior(scale_sd=1e3, pose=False),
        )
        step = float(search.profile(start).candidates.scales.median())
        found *= step
        if abs(step - 1) < 0.01:
            break
    return found


def bound(context: Context, truth: Truth, images: int) -> Bound:
    """The oracle's figures on some images that are not junk."""
    good = torch.nonzero(~truth.junk).flatten()
    rows = good[:: max(1, len(good) // images)][:images].to(context.device)
    states = torch.arange(0, len(truth.volumes), max(1, len(truth.volumes) // MOST_STATES))
    shifts_px = truth.shifts_A / context.cache.pixel_size_A
    start = to_device(without_deviation(truth.rotations, shifts_px), context.device)[rows]
    start = replace(start, rows=torch.arange(len(rows), device=context.device))
    box = context.cache.plane.box_px
    volumes = change_box(truth.volumes, box).to(context.device)
    volumes = volumes * _scale(context, rows, start, volumes.mean(0))
    labels = truth.labels.to(context.device)[rows]
    best, known = torch.full((len(rows),), torch.inf, device=context.device), torch.zeros_like(labels).float()
    error, chosen = torch.zeros_like(known), torch.zeros_like(labels)
    own = (labels[:, None] - states.to(context.device)).abs().argmin(1)
    for number, state in enumerate(states.tolist()):
        fit = _fit(volumes[state][None], context, rows, start)
        turned = geodesic_deg(fit.candidates.rotations, start.rotations).float()
        known = torch.where(own == number, turned, known)
        better = fit.objective < best
        best = torch.where(better, fit.objective, best)
        error, chosen = torch.where(better, turned, error), torch.where(better, state, chosen)
    if truth.is_continuous:
        coordinates = truth.coordinates.to(context.device)
        agreement = float(np.corrcoef(coordinates[chosen].cpu(), coordinates[labels].cpu())[0, 1])
    else:
        agreement = float((chosen == labels).float().mean())
    return Bound(float(known.median()), float(error.median()), agreement)


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="what `nunatak simulate` wrote")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    device, threads = use_machine(options.device, options.threads)
    particles, truth = read_particles(options.folder / "particles.star"), read_truth(options.folder)
    context = prepare(particles, EngineConfig(), device=device)
    found = bound(context, truth, options.images)
    report(
        {"benchmark": "oracle", "machine": machine(threads), "images": options.images, **vars(found)}, None
    )


if __name__ == "__main__":
    main()

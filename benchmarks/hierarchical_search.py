#!/usr/bin/env python3
"""Images per second, and pose error, of Nunatak's hierarchical search at the published hyper-parameters.

    python benchmarks/hierarchical_search.py particles.star --truth truth.star --images 2000 --threads 2

The map is made from other particles at their true poses, or is that of a finished run (`--run RUN`). The
clock of `images_per_s` is about what turns cached images into poses: CTF values and samples for the coarse
grid, the bank of slices, the search. That of `end_to_end_images_per_s` is about the whole program: imports,
reading, compiled kernels and the map included. Prints one JSON object.
"""

from __future__ import annotations

import time

BEGAN = time.perf_counter()

import argparse  # noqa: E402
import sys  # noqa: E402
from dataclasses import asdict  # noqa: E402
from pathlib import Path  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from child import machine, report  # noqa: E402
from torch import Tensor  # noqa: E402

from nunatak.geometry.poses import Poses  # noqa: E402
from nunatak.io.mrc import read_map  # noqa: E402
from nunatak.metrics.pose_error import align_frames  # noqa: E402
from nunatak.particles.cache import ImageCache, build_cache  # noqa: E402
from nunatak.particles.contrast import guess_contrast_sign  # noqa: E402
from nunatak.particles.dataset import Particles  # noqa: E402
from nunatak.particles.reading import read_particles  # noqa: E402
from nunatak.projection.gridding import block_from_maps  # noqa: E402
from nunatak.projection.operator import insert_block  # noqa: E402
from nunatak.projection.slices import block_shape  # noqa: E402
from nunatak.runs.machine import use_machine  # noqa: E402
from nunatak.search.candidates import ImageSamples  # noqa: E402
from nunatak.search.hierarchical import (  # noqa: E402
    HierarchicalConfig,
    KeptPoses,
    hierarchical_search,
    polar_batch,
)
from nunatak.volumes.maps import soft_sphere  # noqa: E402
from nunatak.volumes.wiener import FourierSums, relative_ridge, solve_maps  # noqa: E402

MASK_FRACTION = 0.42
WARM_IMAGES = 16
"""Searched beforehand, so that compiling is not on the search's clock."""


def cached(particles: Particles, rows: Tensor, device: torch.device) -> ImageCache:
    """Some particles, read and transformed, protein bright."""
    sign, _ = guess_contrast_sign(particles)
    return build_cache(particles.subset(rows), sign, MASK_FRACTION * particles.box_px, device=device)


def map_at_poses(cache: ImageCache, poses: Poses, radius_px: int) -> Tensor:
    """(1, d, d, d) map of images at known poses: one M-step."""
    plane = cache.plane
    count = plane.count_within(radius_px)
    frequencies = plane.frequencies[:count]
    weights = 1 / cache.background_power[plane.shells[:count]]
    shifts_A = poses.shifts_A.to(cache.samples.device)
    angle = -2 * torch.pi / cache.extent_A * (shifts_A @ frequencies.float().T)
    samples, transfer = cache.samples[:, :count], cache.transfer[:, :count]
    rotations = poses.rotations.to(samples.device)
    centred = samples * torch.polar(torch.ones_like(angle), angle) * transfer * weights
    shape = block_shape(radius_px, 2)
    numerator = insert_block(centred[..., None], rotations, frequencies, shape)
    denominator = insert_block((transfer**2 * weights)[..., None], rotations, frequencies, shape)
    sums = FourierSums(numerator, denominator, radius_px, 2)
    maps = solve_maps(sums, relative_ridge(sums, 0.1), radius_px, plane.box_px)
    return maps * soft_sphere(plane.box_px, MASK_FRACTION * plane.box_px, device=maps.device)


def synchronise(device: torch.device) -> None:
    """Wait for what the device has been given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def search(cache: ImageCache, block: Tensor, config: HierarchicalConfig) -> tuple[KeptPoses, float]:
    """The search, and its seconds."""
    device = cache.samples.device
    synchronise(device)
    began = time.perf_counter()
    images = ImageSamples(cache.samples, cache.transfer, cache.plane)
    weights = 2 / cache.background_power
    frequencies = config.plane.frequencies.to(device)
    polar = polar_batch(images, cache.transfer_at(frequencies), weights, config)
    found = hierarchical_search(block, images, polar, weights, config)
    synchronise(device)
    return found, time.perf_counter() - began


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Read, make the map, search, compare with the truth."""
    device, _ = use_machine(options.device, options.threads)
    particles = read_particles(Path(options.particles))
    rows = torch.arange(min(options.images, len(particles)))
    began = time.perf_counter()
    cache = cached(particles, rows, device)
    read_s = time.perf_counter() - began
    box, config = particles.box_px, HierarchicalConfig()
    radius = min(config.l_end, (box - 1) // 2)
    truth = None if options.truth is None else read_particles(Path(options.truth), require_images=False).poses
    if options.run is not None:
        maps = torch.from_numpy(read_map(Path(options.run) / "mean.mrc")[0])[None].to(device)
        source = "mean.mrc of a run"
    else:
        # Other particles than those that are searched, where there are any.
        behind = torch.arange(len(rows), min(len(particles), len(rows) + options.map_images))
        used = behind if len(behind) else rows
        maps = map_at_poses(cached(particles, used, device), truth[used], radius)
        source = f"{len(used)} {'other' if len(behind) else 'of the same'} particles at their true poses"
    block = block_from_maps(maps, radius)
    search(cached(particles, rows[:WARM_IMAGES], device), block, config)
    found, search_s = search(cache, block, config)
    figures: dict[str, object] = {
        "images": len(rows),
        "box_px": box,
        "images_per_s": round(len(rows) / search_s, 2),
        "search_s": round(search_s, 3),
        "read_s": round(read_s, 3),
        "end_to_end_s": round(time.perf_counter() - BEGAN, 2),
    }
    figures["end_to_end_images_per_s"] = round(len(rows) / figures["end_to_end_s"], 2)  # type: ignore[operator]
    if truth is not None:
        # A map at true poses lies in their frame; one from a run has a frame and a hand of its own.
        aligned = align_frames(found.best[0].cpu().numpy(), truth.rotations[rows].numpy())
        figures["rot_median_deg"] = round(float(np.median(aligned.error_deg)), 2)
        figures["rot_90th_percentile_deg"] = round(float(np.quantile(aligned.error_deg, 0.9)), 2)
    hypotheses = {"base_rotations": 72 * 8**config.base_healpy, "shifts": config.shifts_per_axis**2}
    return figures | {
        "map": source,
        "hyper_parameters": asdict(config),
        "hypotheses_per_image": hypotheses,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "machine": machine(options.threads),
    }


def parser() -> argparse.ArgumentParser:
    """Options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("particles", help="RELION star file with CTF, its stacks beside it")
    made.add_argument("--truth", help="star file with the true poses of the same rows")
    made.add_argument(
        "--run", help="folder of a finished `nunatak abinit` run, whose map is then searched with"
    )
    made.add_argument("--images", type=int, default=2000, help="images to search (default 2000)")
    made.add_argument("--map-images", type=int, default=3000, help="images for a map at true poses")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--device", default="cpu", choices=["auto", "cpu", "cuda"])
    made.add_argument("-o", "--output", help="write the JSON there too")
    return made


def main() -> None:
    """Measure and report."""
    options = parser().parse_args()
    if options.truth is None and options.run is None:
        parser().error("give --truth or --run: the search needs a map")
    report(measure(options), options.output)


if __name__ == "__main__":
    main()

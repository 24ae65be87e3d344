"""Images per second that each trained volume takes: slices, their derivatives, and a step of Adam.

Counted in seconds of the process, so that other work on the cores does not enter; one thread by default.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))

import numba
import torch
from child import machine, report

from nunatak.core.fourier import half_plane
from nunatak.geometry.rotations import random_rotations
from nunatak.volumes.field_config import FieldShape, GridConfig
from nunatak.volumes.making import FieldPlan, new_field


def images_per_s(plan: FieldPlan, batch: int, steps: int) -> float:
    """Of one kind of volume, after a first step that compiles and allocates."""
    generator, shape = torch.Generator().manual_seed(0), plan.shape
    field = new_field(plan, torch.ones(shape.radius_px + 1), generator)
    frequencies = half_plane(shape.box_px, shape.radius_px).frequencies.float()
    rotations = random_rotations(batch, generator)
    latents = torch.randn(batch, shape.latent_dim, generator=generator)
    optimiser = torch.optim.Adam(field.parameters(), lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        field.slices(rotations, frequencies, latents).abs().square().sum().backward()
        optimiser.step()

    step()
    began = time.process_time()
    for _ in range(steps):
        step()
    return steps * batch / (time.process_time() - began)


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--box-px", type=int, default=64)
    parser.add_argument("--latent-dim", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--output", help="write the JSON there too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    numba.set_num_threads(options.threads)
    shape = FieldShape(options.box_px, (options.box_px - 1) // 2, options.latent_dim)
    cases = [("network", 8, 8), *(("grid", batch, 8) for batch in (128, 512)), ("grid", 128, 16)]
    found = [
        {
            "volume": kind,
            "batch": batch,
            "rank": rank if kind == "grid" else None,
            "images_per_s": images_per_s(
                FieldPlan(kind, shape, grid=GridConfig(rank=rank)), batch, options.steps
            ),
        }
        for kind, batch, rank in cases
    ]
    told = {"box_px": options.box_px, "latent_dim": options.latent_dim, "volumes": found}
    report({"machine": machine(options.threads), **told}, options.output)


if __name__ == "__main__":
    main()

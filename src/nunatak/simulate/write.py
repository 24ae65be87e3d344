"""A simulated set as a folder: what a user would have, and the truth beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import tomli_w

from nunatak.geometry.rotations import euler_from_matrices
from nunatak.io.atomic import atomic_path, write_text
from nunatak.io.mrc import write_map
from nunatak.io.star import write_star_tables
from nunatak.particles.truth import Truth, save_truth
from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.dataset import Simulation, simulate

STACK_FILE = "particles.mrcs"


def write_simulation(
    out_dir: str | Path, config: SimulationConfig, progress: Callable[[float], None] | None = None
) -> Truth:
    """Simulate a particle set into a folder, without holding the images in memory.

    Writes particles.mrcs and particles.star (RELION 3.1, no poses: the input of an ab initio run), truth.star
    (with poses, half-sets and states), truth.npz, volumes.npy, mean.mrc, and simulation.toml, from which the
    set can be made again.

    Parameters
    ----------
    out_dir : path
        Made if it does not exist; files of these names are replaced.
    config : SimulationConfig
    progress : callable, optional
        Called with the fraction done.

    Raises
    ------
    InputError
        See nunatak.simulate.dataset.simulate; nothing is written then.
    """
    out = Path(out_dir)
    with ExitStack() as closing:

        def allocate(shape: tuple[int, int, int], pixel_size_A: float) -> np.ndarray:
            # Images are asked for when everything that can be refused has been looked at.
            out.mkdir(parents=True, exist_ok=True)
            stack = closing.enter_context(atomic_path(out / STACK_FILE))
            stack.unlink()  # mrcfile makes the file itself
            return _stack_on_disk(stack, shape, pixel_size_A)

        simulation = simulate(config, allocate, progress)
        # Letting go of the mapped stack closes it before it is moved to its name.
        simulation = replace(simulation, images=np.empty(0, np.float32))
    _write_stars(out, simulation)
    save_truth(out, simulation.truth)
    write_map(out / "mean.mrc", simulation.truth.mean_volume().numpy(), simulation.truth.pixel_size_A)
    write_text(out / "simulation.toml", config_text(config))
    return simulation.truth


def config_text(config: SimulationConfig) -> str:
    """The configuration as TOML; what is left to its default of None has no line."""
    values = json.loads(config.model_dump_json(exclude_none=True))
    if np.isinf(config.snr):
        values["snr"] = float("inf")  # JSON has no infinity
    return tomli_w.dumps(values)


def _stack_on_disk(path: Path, shape: tuple[int, int, int], pixel_size_A: float) -> np.memmap:
    """A new MRC stack whose images are written in place."""
    with mrcfile.new_mmap(path, shape, mrc_mode=2) as file:
        file.set_image_stack()
        file.voxel_size = pixel_size_A
        offset = int(file.header.nbytes + file.header.nsymbt)
    return np.memmap(path, np.float32, "r+", offset, shape)


def _write_stars(out: Path, simulation: Simulation) -> None:
    """particles.star without and truth.star with the answers."""
    truth = simulation.truth
    rows = _particle_rows(simulation)
    angles = euler_from_matrices(truth.rotations).numpy()
    answers = {f"rlnAngle{name}": angles[:, i] for i, name in enumerate(("Rot", "Tilt", "Psi"))}
    answers |= {f"rlnOrigin{name}Angst": truth.shifts_A[:, i].numpy() for i, name in enumerate("XY")}
    answers |= {"rlnRandomSubset": np.arange(len(truth)) % 2 + 1, "rlnClassNumber": truth.labels.numpy() + 1}
    optics = _optics_rows(simulation)
    for name, columns in (("particles.star", rows), ("truth.star", rows | answers)):
        write_star_tables(out / name, {"optics": optics, "particles": pd.DataFrame(columns)})


def _optics_rows(simulation: Simulation) -> pd.DataFrame:
    optics, truth = simulation.optics, simulation.truth
    return pd.DataFrame(
        {
            "rlnOpticsGroup": [1],
            "rlnOpticsGroupName": ["opticsGroup1"],
            "rlnVoltage": [float(optics.voltage_kV[0])],
            "rlnSphericalAberration": [float(optics.spherical_aberration_mm[0])],
            "rlnAmplitudeContrast": [float(optics.amplitude_contrast[0])],
            "rlnImagePixelSize": [truth.pixel_size_A],
            "rlnImageSize": [truth.box_px],
            "rlnImageDimensionality": [2],
        }
    )


def _particle_rows(simulation: Simulation) -> dict[str, object]:
    optics = simulation.optics
    return {
        "rlnImageName": [f"{number + 1:06d}@{STACK_FILE}" for number in range(len(simulation.truth))],
        "rlnMicrographName": [f"micrograph{number + 1:05d}.mrc" for number in simulation.micrographs],
        "rlnOpticsGroup": 1,
        "rlnDefocusU": optics.defocus_u_A.numpy(),
        "rlnDefocusV": optics.defocus_v_A.numpy(),
        "rlnDefocusAngle": optics.astigmatism_angle_deg.numpy(),
        "rlnPhaseShift": 0.0,
    }

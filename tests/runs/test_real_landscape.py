"""The landscape of a real run against the occupancy that was simulated: slow."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nunatak.cli.main import main
from nunatak.particles.truth import read_truth

OCCUPANCY = (1.0, 0.25, 1.0)


def nunatak(*words: object) -> None:
    with contextlib.suppress(SystemExit):
        main([str(word) for word in words])


@pytest.mark.truth
def test_free_energy_of_a_run(tmp_path: Path) -> None:
    """Poses, latents and landscape from images alone: within 0.5 kT where density exceeds 1 % of its peak."""
    folder, run = tmp_path / "set", tmp_path / "run"
    molecule = ("--motion", "hinge", "--hinge-degrees", 40, "--occupancy", *OCCUPANCY)
    nunatak("simulate", folder, "--particles", 4000, "--box-px", 64, *molecule, "--snr", 0.2)
    nunatak("abinit", folder / "particles.star", "-o", run, "--latent-dim", 2)
    nunatak("analyze", run, "--no-umap", "--truth", folder)
    found = free_energy_error(run, folder)
    assert found["correlation"] > 0.9
    assert found["rmse_kT"] < 0.5


def free_energy_error(run: Path, folder: Path) -> dict[str, float]:
    """Free energy along the recommended path against the simulated occupancy in the same coordinate."""
    truth = read_truth(folder)
    told = json.loads((run / "analysis" / "analysis.json").read_text())
    name = told["recommended_path"]
    profile = pd.read_csv(run / "analysis" / f"profile_{name}.csv")
    position = np.load(run / "analysis" / f"path_{name}.npy")[:, 0]
    t = truth.coordinates.numpy().astype(float)
    labels = truth.labels.numpy()
    middle = np.array([np.median(position[labels == k]) for k in range(len(t))])
    # The coordinate of the path as a smooth function of the simulated one; its slope stretches the density.
    fit = np.polynomial.Polynomial.fit(t, middle, 3)
    fine = np.linspace(t[0], t[-1], 200)
    place, slope = fit(fine), np.abs(fit.deriv()(fine))
    occupancy = np.interp(fine, np.linspace(-1, 1, len(OCCUPANCY)), OCCUPANCY)
    order = np.argsort(place)
    density = np.interp(profile["position"], place[order], (occupancy / slope)[order], left=0, right=0)
    kept = density > 0.01 * density.max()
    difference = profile["free_energy_kT"].to_numpy()[kept] + np.log(density[kept])
    correlation = abs(float(np.corrcoef(position, truth.particle_coordinates.numpy())[0, 1]))
    return {"rmse_kT": float(difference.std()), "correlation": correlation}

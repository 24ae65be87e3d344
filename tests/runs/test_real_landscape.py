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
    """Poses, latents and landscape from images alone: the free energy of each state within 0.5 kT."""
    folder, run = tmp_path / "set", tmp_path / "run"
    molecule = ("--motion", "hinge", "--hinge-degrees", 40, "--occupancy", *OCCUPANCY)
    nunatak("simulate", folder, "--particles", 4000, "--box-px", 64, *molecule, "--snr", 0.2)
    nunatak("abinit", folder / "particles.star", "-o", run, "--latent-dim", 2)
    nunatak("analyze", run, "--no-umap")
    found = free_energy_error(run, folder)
    assert found["correlation"] > 0.9
    assert found["rmse_kT"] < 0.5


def free_energy_error(run: Path, folder: Path) -> dict[str, float]:
    """Free energy of each simulated state, from the profile along the recommended path.

    A state ends half way between its particles' median place along the path and the next one's: latents do
    not tell the angle in degrees, and near the ends of the swing they hardly change with it, so that a
    density per unit of the path could not be compared.
    """
    truth = read_truth(folder)
    name = json.loads((run / "analysis" / "analysis.json").read_text())["recommended_path"]
    profile = pd.read_csv(run / "analysis" / f"profile_{name}.csv")
    position = np.load(run / "analysis" / f"path_{name}.npy")[:, 0]
    t, labels = truth.coordinates.numpy().astype(float), truth.labels.numpy()
    middle = np.array([np.median(position[labels == k]) for k in range(len(t))])
    forwards = middle[-1] > middle[0]
    places = middle if forwards else middle[::-1]
    bounds = (places[1:] + places[:-1]) / 2
    step = profile["position"][1] - profile["position"][0]
    edges = np.append(profile["position"] - step / 2, profile["position"].iloc[-1] + step / 2)
    shares = np.concatenate([[0.0], np.cumsum(profile["density"])]) * step
    within = np.diff(np.concatenate([[0.0], np.interp(bounds, edges, shares), [shares[-1]]]))
    within = within if forwards else within[::-1]
    occupancy = np.interp(t, np.linspace(-1, 1, len(OCCUPANCY)), OCCUPANCY)
    difference = np.log(occupancy / occupancy.sum()) - np.log(np.maximum(within, 1e-6))
    correlation = abs(float(np.corrcoef(position, truth.particle_coordinates.numpy())[0, 1]))
    return {"rmse_kT": float(difference.std()), "correlation": correlation}

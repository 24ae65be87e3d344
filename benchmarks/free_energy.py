#!/usr/bin/env python3
"""The landscape of an analysed run against the occupancy that was simulated.

    nunatak abinit SIMULATED/particles.star -o RUN --latent-dim 4
    nunatak analyze RUN --no-umap
    python benchmarks/free_energy.py RUN SIMULATED

Prints for each path how its positions follow the true coordinate, its support, and how far the free energy
is from the truth (root mean square, where the true density exceeds 1 % of its maximum), with and without
deconvolution: for every state, and for tenths of a motion (`rmse_kT`). States of a motion are evenly spaced
along it, so that both are per unit of the true coordinate. A state's share is counted around the point of the
path that is nearest to where the run's latents have it: the centre of its particles' measurements, with their
errors and outliers taken into account. Of discrete states their shares among the clusters of the mixture are
compared as well. Support is told apart for states that have particles and for those that have none.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import numpy as np
from child import machine, report
from numpy.typing import NDArray
from scipy.stats import spearmanr

from nunatak.analysis.paths import arc_lengths, projected_on_path
from nunatak.metrics.landscape_score import (
    centres_of_states,
    in_one_direction,
    shares_along,
    shares_of_clusters,
    state_energies,
    tenths,
)
from nunatak.particles.truth import Truth, read_truth
from nunatak.runs.analyze import read_analysis
from nunatak.runs.study import open_study


def column(path: Path, name: str) -> NDArray[np.float64]:
    """A column of one of analyze's tables."""
    with path.open(encoding="utf-8") as table:
        return np.array([float(row[name]) for row in csv.DictReader(table)])


def centres(run: Path, truth: Truth) -> NDArray[np.float64]:
    """(states, d) where the run's latents have each true state, in the informed coordinates."""
    study, rows = open_study(run), np.flatnonzero(~truth.junk.numpy())
    measured = study.measurements(rows)
    labels, coordinates = truth.labels.numpy()[rows], truth.coordinates.numpy().astype(float)
    return centres_of_states(measured.positions, measured.covariances, labels, coordinates)


def places_along(profile: Path, of_states: NDArray) -> NDArray[np.float64]:
    """(states,) where on a profile's axis each state lies: the nearest point of its curve."""
    cells = np.stack([column(profile, f"component_{k}") for k in range(of_states.shape[1])], 1)
    along = projected_on_path(of_states, cells)[0]
    return in_one_direction(np.interp(along, arc_lengths(cells), column(profile, "position")))


def path_figures(out: Path, name: str, truth: Truth, of_states: NDArray) -> dict[str, Any]:
    """How one path does against the truth."""
    good = ~truth.junk.numpy()
    labels, coordinates = truth.labels.numpy()[good], truth.coordinates.numpy().astype(float)
    positions, away = np.load(out / f"path_{name}.npy")[good].astype(float).T
    occupancy = np.bincount(labels, minlength=len(coordinates)) / len(labels)
    profile = out / f"profile_{name}.csv"
    places = places_along(profile, of_states)
    axis = column(profile, "position")
    there, empty = occupancy > 0, occupancy == 0
    shares = {}
    for kind in ("density", "raw_density"):
        # Of a state without particles the place is a guess; it takes no share from those that have some.
        shares[kind] = np.zeros(len(occupancy))
        shares[kind][there] = shares_along(axis, column(profile, kind), places[there])
    with_gap = shares_along(axis, column(profile, "density"), places)
    energies = {
        kind: state_energies(tenths(found), tenths(occupancy), len(labels)) for kind, found in shares.items()
    }
    each = state_energies(shares["density"], occupancy, len(labels))
    support = np.interp(
        places, column(out / f"path_{name}.csv", "position"), column(out / f"path_{name}.csv", "support")
    )
    return {
        "follows_coordinate": round(abs(float(spearmanr(positions, coordinates[labels]).statistic)), 3),
        "median_distance": round(float(np.median(away)), 3),
        "rmse_kT": round(energies["density"].rmse_kT, 3),
        "rmse_of_each_state_kT": round(each.rmse_kT, 3),
        "rmse_without_deconvolution_kT": round(energies["raw_density"].rmse_kT, 3),
        "median_support": round(float(np.median(support[~empty])), 3),
        "least_support": round(float(support[~empty].min()), 3),
        "least_support_in_gap": round(float(support[empty].min()), 3) if empty.any() else None,
        "share_in_gap": round(float(with_gap[empty].sum()), 4) if empty.any() else None,
        "found_kT": energies["density"].found_kT.round(2).tolist(),
        "true_kT": energies["density"].true_kT.round(2).tolist(),
    }


def figures(run: Path, truth: Truth) -> dict[str, Any]:
    """All figures of a run."""
    out, told, of_states = run / "analysis", read_analysis(run), centres(run, truth)
    found: dict[str, Any] = {
        "informed": told["components"]["informed"],
        "reliabilities": [round(value, 3) for value in told["components"]["reliabilities"]],
        "recommended": told["recommended_path"],
        "paths": {path["name"]: path_figures(out, path["name"], truth, of_states) for path in told["paths"]},
    }
    if not truth.is_continuous:
        good = ~truth.junk.numpy()
        labels, states = truth.labels.numpy()[good], len(truth.coordinates)
        clusters = np.load(out / "mixture_labels.npy")[good]
        occupancy = np.bincount(labels, minlength=states) / len(labels)
        energies = state_energies(shares_of_clusters(clusters, labels, states), occupancy, len(labels))
        found["mixture_clusters"] = told["mixture"]["clusters"]
        found["mixture_rmse_kT"] = round(energies.rmse_kT, 3)
        found["mixture_found_kT"] = energies.found_kT.round(2).tolist()
        found["true_kT"] = energies.true_kT.round(2).tolist()
    return found


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="an analysed run")
    parser.add_argument("truth", type=Path, help="folder with the truth.npz of its simulation")
    parser.add_argument("-o", "--output", help="file for the figures")
    arguments = parser.parse_args()
    told = figures(arguments.run, read_truth(arguments.truth))
    report({**told, "machine": machine(1)}, arguments.output)


if __name__ == "__main__":
    main()

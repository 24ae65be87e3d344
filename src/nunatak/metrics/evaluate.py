"""A run folder against the truth of its simulation: the figures that the field compares."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from nunatak.core.errors import require
from nunatak.io.mrc import read_map
from nunatak.io.star import read_star_tables
from nunatak.metrics.latent_score import score_latents
from nunatak.metrics.near_symmetry import within_state_error_modulo_turns_deg
from nunatak.metrics.pose_error import (
    FrameAlignment,
    align_frames,
    fit_origin_A,
    shift_error_A,
    within_state_error_deg,
)
from nunatak.metrics.run_files import RunPoses, image_numbers, read_run_poses
from nunatak.metrics.volume_score import MapPlacement, placement, score_map
from nunatak.particles.truth import Truth, read_truth

MOTION_BINS = 10
Figures = dict[str, float | int | str]


@dataclass(frozen=True)
class Registration:
    """A run's poses laid over the truth's; `good` leaves the simulated junk out."""

    alignment: FrameAlignment
    where: MapPlacement
    good: NDArray[np.bool_]


def evaluate_run(
    run_dir: Path | str,
    truth_dir: Path | str,
    volumes_dir: Path | str | None = None,
    max_volumes: int = 60,
    near_symmetry: int = 1,
) -> Figures:
    """All figures of a run folder against a simulation's truth folder.

    Parameters
    ----------
    run_dir : path
        Holds particles.star, and where the run made them latents.npy and mean.mrc.
    truth_dir : path
        Holds truth.npz, volumes.npy, mean.mrc and particles.star.
    volumes_dir : path, optional
        Holds vol_000123.mrc: the map at the latent position of particle 123 (0-based).
    max_volumes : int
        At most so many of those maps are scored, the first by name.
    near_symmetry : int
        Order of a symmetry that the molecule nearly has; 1: none.

    Returns
    -------
    dict
        `n`; `hand`; `rot_median_deg`, `rot_mean_deg`, `rot_within_10deg` after one alignment of the frames;
        `rot_within_state_median_deg` after one per true state (ten bins of a motion), and with a hand of each
        state's own, as unrelated molecules have, `rot_within_state_own_hands_median_deg`, or modulo a near
        symmetry `rot_within_state_modulo_symmetry_median_deg`; `shift_median_A`;
        `mean_fsc05_A`, `mean_fsc_auc`; `latent_knn`, `latent_pose_leak`, `latent_ari`;
        `per_image_fsc_auc`, its `_sd` and `volumes_scored`; `junk_auc`. What was not there is left out.

    Raises
    ------
    InputError
        When rows are missing, in another order, or a file cannot be understood.
    """
    run, truth = read_run_poses(run_dir), read_truth(truth_dir)
    _require_same_rows(run, truth, Path(truth_dir) / "particles.star")
    pose_figures, registration = _score_poses(run, truth, near_symmetry)
    figures: Figures = {"n": len(run), **pose_figures}
    figures |= _score_mean(Path(run_dir), Path(truth_dir), truth, registration)
    figures |= _score_latents(Path(run_dir), truth, registration.good)
    if volumes_dir is not None:
        figures |= _score_volumes(Path(volumes_dir), truth, registration, max_volumes)
    if run.junk_probability is not None and truth.junk.any() and not truth.junk.all():
        figures["junk_auc"] = float(roc_auc_score(truth.junk.numpy(), run.junk_probability))
    return figures


def _require_same_rows(run: RunPoses, truth: Truth, simulated_rows: Path) -> None:
    require(
        len(run) == len(truth),
        f"The run has {len(run)} particles but the truth {len(truth)}: every row must come back, in order.",
    )
    if simulated_rows.exists():
        require(
            run.image_numbers == image_numbers(read_star_tables(simulated_rows).rows),
            "The run's particles are not in the truth's order: give the truth of the run's own input.",
        )


def motion_bins(truth: Truth) -> NDArray[np.int64]:
    """(n,) the state of every particle, of neighbours along a motion of more than ten states one number."""
    state_count = len(truth.coordinates)
    return truth.labels.numpy() * min(MOTION_BINS, state_count) // max(state_count, 1)


def _score_poses(run: RunPoses, truth: Truth, near_symmetry: int) -> tuple[Figures, Registration]:
    good = ~truth.junk.numpy()
    true_rotations, true_shifts_A = truth.rotations.double().numpy(), truth.shifts_A.double().numpy()
    alignment = align_frames(run.rotations, true_rotations, good)
    error = alignment.error_deg[good]
    figures: Figures = {
        "hand": alignment.hand,
        "rot_median_deg": float(np.median(error)),
        "rot_mean_deg": float(error.mean()),
        "rot_within_10deg": float((error < 10).mean()),
    }
    known = run.rotations[good], true_rotations[good], motion_bins(truth)[good]
    if len(truth.coordinates) > 1:
        within = within_state_error_deg(*known, alignment.hand)
        own_hands = within_state_error_deg(*known, None)
        figures["rot_within_state_median_deg"] = float(np.median(within))
        figures["rot_within_state_own_hands_median_deg"] = float(np.median(own_hands))
    if near_symmetry > 1:
        modulo = within_state_error_modulo_turns_deg(*known, alignment.hand, near_symmetry)
        figures["rot_within_state_modulo_symmetry_median_deg"] = float(np.median(modulo))
    good_poses = run.shifts_A[good], true_shifts_A[good], true_rotations[good]
    origin_A = fit_origin_A(*good_poses)
    figures["shift_median_A"] = float(np.median(shift_error_A(*good_poses, origin_A)))
    return figures, Registration(alignment, placement(alignment, origin_A, truth.pixel_size_A), good)


def _score_mean(run_dir: Path, truth_dir: Path, truth: Truth, registration: Registration) -> Figures:
    if not (run_dir / "mean.mrc").exists():
        return {}
    volume, reference = read_map(run_dir / "mean.mrc")[0], read_map(truth_dir / "mean.mrc")[0]
    if volume.shape != reference.shape:
        return {"mean_fsc_auc": f"mean.mrc is {volume.shape}, the truth {reference.shape}"}
    score = score_map(volume, reference, registration.where, truth.pixel_size_A)
    return {"mean_fsc05_A": score.fsc05_A, "mean_fsc_auc": score.fsc_auc}


def _score_latents(run_dir: Path, truth: Truth, good: NDArray) -> Figures:
    path = run_dir / "latents.npy"
    labels = truth.labels.numpy()
    if not path.exists() or len(np.unique(labels)) < 2:
        return {}
    latents = np.load(path, allow_pickle=False)
    require(
        len(latents) == len(truth),
        f"{path} has {len(latents)} rows, but there are {len(truth)} particles: write one row for each.",
    )
    directions = truth.rotations.double().numpy()[good][:, 2, :]
    score = score_latents(latents[good], labels[good], truth.coordinates.double().numpy(), directions)
    figures: Figures = {"latent_knn": score.knn, "latent_pose_leak": score.pose_leak}
    return figures if score.ari is None else figures | {"latent_ari": score.ari}


def _score_volumes(volumes_dir: Path, truth: Truth, registration: Registration, max_volumes: int) -> Figures:
    areas = []
    for path in sorted(volumes_dir.glob("vol_*.mrc"))[:max_volumes]:
        particle = _particle_index(path, len(truth))
        if registration.good[particle]:
            true_volume = truth.volumes[truth.labels[particle]].numpy()
            areas.append(
                score_map(read_map(path)[0], true_volume, registration.where, truth.pixel_size_A).fsc_auc
            )
    if not areas:
        return {}
    return {
        "per_image_fsc_auc": float(np.mean(areas)),
        "per_image_fsc_auc_sd": float(np.std(areas)),
        "volumes_scored": len(areas),
    }


def _particle_index(path: Path, particles: int) -> int:
    number = re.search(r"vol_(\d+)", path.name)
    require(
        number is not None and int(number[1]) < particles,
        f"{path.name} names none of the {particles} particles: expected vol_000123.mrc for particle 123.",
    )
    return int(number[1])  # type: ignore[index]

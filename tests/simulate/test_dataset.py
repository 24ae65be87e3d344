"""Simulated sets: what was asked for is what is in the images, and the folder can be scored."""

import json
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile
import torch

from nunatak.core.errors import InputError
from nunatak.core.fourier import fourier_map
from nunatak.geometry.rotations import matrices_from_euler
from nunatak.particles.reading import read_particles
from nunatak.particles.truth import read_truth
from nunatak.simulate.config import SimulationConfig
from nunatak.simulate.dataset import clean_images, simulate, simulate_particles
from nunatak.simulate.optics_model import draw_noise, noise_spectrum
from nunatak.simulate.write import write_simulation

SCORE = Path(__file__).parents[3] / "shared" / "referee" / "score.py"
FEW = SimulationConfig(particles=40, box_px=24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, small_config):
    out = tmp_path_factory.mktemp("simulation")
    write_simulation(out, small_config)
    return out


def test_what_cannot_be_simulated_leaves_no_folder(tmp_path):
    config = FEW.model_copy(update={"structure": (tmp_path / "missing.pdb",)})
    with pytest.raises(InputError, match="missing"):
        write_simulation(tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


def test_images_are_the_clean_images_plus_noise_of_variance_one(small_set):
    truth = small_set.truth
    good = torch.nonzero(~truth.junk)[:, 0]
    clean = clean_images(truth, small_set.optics, good).numpy()
    noise = small_set.images[good.numpy()] - clean
    assert noise.var() == pytest.approx(1.0, abs=0.01)
    assert abs(noise.mean()) < 0.01
    assert abs((noise * clean).mean()) < 0.01


@pytest.mark.parametrize("falloff", [0.0, 3.0])
def test_the_signal_to_noise_ratio_is_that_asked_for(falloff):
    config = FEW.model_copy(update={"snr": 0.2, "noise_falloff": falloff, "particles": 200})
    made = simulate(config)
    clean = clean_images(made.truth, made.optics, torch.arange(200)).numpy()
    noise = made.images - clean
    assert clean.var((1, 2)).mean() / noise.var() == pytest.approx(0.2, rel=0.03)


def test_the_volumes_reproduce_the_images_by_the_formula(small_config):
    """Without noise, by direct sums at a few frequencies: contrast * CTF * transform * shift."""
    made = simulate(small_config.model_copy(update={"snr": float("inf"), "junk_fraction": 0.0}))
    truth, box = made.truth, made.truth.box_px
    grid = (torch.arange(box) - box // 2).double()
    z, y, x = torch.meshgrid(grid, grid, grid, indexing="ij")
    points = torch.stack([x, y, z], -1).reshape(-1, 3)
    iy, ix = torch.meshgrid(grid, grid, indexing="ij")
    for row, k in ((0, (3.0, -2.0)), (7, (0.0, 5.0)), (11, (-4.0, 1.0))):
        k = torch.tensor(k, dtype=torch.float64)
        k_A = k / (box * truth.pixel_size_A)
        frequency = k @ truth.rotations[row, :2].double()
        volume = truth.volumes[truth.labels[row]].double().flatten()
        value = (volume * torch.exp(-2j * torch.pi / box * (points @ frequency))).sum()
        o = made.optics
        squared, azimuth = (k_A**2).sum(), torch.atan2(k_A[1], k_A[0])
        u, v, angle = o.defocus_u_A[row], o.defocus_v_A[row], torch.deg2rad(o.astigmatism_angle_deg[row])
        defocus = (u + v) / 2 + (u - v) / 2 * torch.cos(2 * (azimuth - angle))
        wavelength = 0.0196875  # 300 kV
        gamma = torch.pi * (-defocus * wavelength * squared + 0.5 * 2.7e7 * wavelength**3 * squared**2)
        ctf = -torch.sin(gamma - np.arcsin(0.1))
        shift = torch.exp(2j * torch.pi * (truth.shifts_A[row].double() @ k_A))
        expected = truth.contrast[row] * ctf * value * shift
        image = torch.from_numpy(made.images[row]).double()
        found = (image * torch.exp(-2j * torch.pi * (k[0] * ix + k[1] * iy) / box)).sum()
        assert abs(found - expected) < 2e-3 * abs(fourier_map(truth.volumes[0]).abs().max() * box) * 0.1


def test_the_same_seed_gives_the_same_set_and_noise_leaves_poses_alone():
    first, again = simulate(FEW), simulate(FEW)
    assert np.array_equal(first.images, again.images)
    other = simulate(FEW.model_copy(update={"seed": 1}))
    assert not np.array_equal(first.images, other.images)
    cleaner = simulate(FEW.model_copy(update={"snr": 1.0, "junk_fraction": 0.5}))
    assert torch.equal(first.truth.rotations, cleaner.truth.rotations)
    assert torch.equal(first.optics.defocus_u_A, cleaner.optics.defocus_u_A)


def test_fractions_are_those_asked_for(small_set, small_config):
    truth = small_set.truth
    assert int(truth.junk.sum()) == 30
    assert float(truth.contrast.std()) == pytest.approx(0.2, rel=0.15)
    extent_A = 0.04 * small_config.box_px * truth.pixel_size_A
    assert 0.9 * extent_A < float(truth.shifts_A.abs().max()) <= extent_A
    assert truth.coordinates.tolist() == [-1, -0.5, 0, 0.5, 1]
    assert truth.is_continuous
    defocus = small_set.optics.defocus_u_A
    assert 7000 < float(defocus.min()) < float(defocus.max()) < 30000
    within = torch.stack([part.std() for part in defocus.split(50)])
    assert float(within.mean()) == pytest.approx(150, rel=0.2)
    assert float(defocus.std()) > 1000


def test_shifts_may_be_normal():
    config = FEW.model_copy(update={"shift_distribution": "normal", "shift_extent_A": 5.0, "particles": 2000})
    made = simulate(config)
    assert float(made.truth.shifts_A.std()) == pytest.approx(5.0, rel=0.05)
    assert float(made.truth.shifts_A.abs().max()) > 10


def test_occupancy_populates_the_states():
    hinge = SimulationConfig(particles=2000, box_px=16, motion="hinge", states=5, occupancy=(1, 0, 1))
    counts = torch.bincount(simulate(hinge).truth.labels, minlength=5) / 2000
    assert counts.tolist() == pytest.approx([1 / 3, 1 / 6, 0, 1 / 6, 1 / 3], abs=0.04)
    with pytest.raises(InputError, match="one number per state, 4"):
        simulate(SimulationConfig(particles=9, box_px=16, motion="assembly", occupancy=(1, 2)))
    with pytest.raises(InputError, match="positive"):
        simulate(SimulationConfig(particles=9, box_px=16, motion="hinge", occupancy=(1, -2)))


def test_coloured_noise_has_its_spectrum():
    config = SimulationConfig(box_px=32, noise_falloff=3.0, noise_corner_A=40.0)
    spectrum = noise_spectrum(config, 4.0)
    noise = torch.from_numpy(draw_noise(2000, spectrum, np.random.default_rng(0)))
    assert float(noise.var()) == pytest.approx(1.0, abs=0.01)
    power = (torch.fft.rfft2(noise).abs() ** 2).mean(0) / 32**2
    assert torch.allclose(power, spectrum, rtol=0.15)
    frequency = 8 / (32 * 4.0)
    expected = ((1 + (frequency * 40) ** 2) / 1.0) ** -1.5
    assert float(power[8, 0] / power[0, 0]) == pytest.approx(expected, rel=0.15)


def test_particles_in_memory_are_ready_for_the_engine(small_config, small_set):
    particles, truth = simulate_particles(small_config)
    assert len(particles) == len(truth) == 300
    assert particles.pixel_size_A == truth.pixel_size_A
    assert particles.poses is None
    assert np.array_equal(particles.images.read(np.array([5, 2])), small_set.images[[5, 2]])


def test_the_folder_holds_what_was_simulated(folder, small_config, small_set):
    with mrcfile.open(folder / "particles.mrcs") as file:
        assert np.array_equal(file.data, small_set.images)
        assert file.is_image_stack()
        assert float(file.voxel_size.x) == pytest.approx(small_set.truth.pixel_size_A)
    truth = read_truth(folder)
    for name in ("rotations", "shifts_A", "labels", "coordinates", "junk", "contrast", "volumes"):
        assert torch.equal(getattr(truth, name), getattr(small_set.truth, name)), name
    with mrcfile.open(folder / "mean.mrc") as file:
        assert np.allclose(file.data, truth.mean_volume().numpy())
    settings = tomllib.loads((folder / "simulation.toml").read_text())
    assert SimulationConfig.model_validate(settings) == small_config
    assert not list(folder.glob(".*"))


def test_truth_star_holds_the_poses_and_particles_star_does_not(folder, small_set):
    given = starfile.read(folder / "particles.star")["particles"]
    assert not [column for column in given if "Angle" in column and column != "rlnDefocusAngle"]
    rows = starfile.read(folder / "truth.star")["particles"]
    names = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
    rotations = matrices_from_euler(torch.tensor(rows[names].to_numpy()))
    assert torch.allclose(rotations.float(), small_set.truth.rotations, atol=1e-5)
    shifts = rows[["rlnOriginXAngst", "rlnOriginYAngst"]].to_numpy()
    assert np.allclose(shifts, small_set.truth.shifts_A.numpy(), atol=1e-5)


def test_the_files_alone_reproduce_the_images(folder):
    """truth.star as any user's file, the maps of volumes.npy: what is left over is noise."""
    particles, truth = read_particles(folder / "truth.star"), read_truth(folder)
    assert particles.has_ctf
    assert particles.box_px == truth.box_px
    assert particles.pixel_size_A == pytest.approx(truth.pixel_size_A)
    assert not particles.warnings
    from_files = replace(truth, rotations=particles.poses.rotations, shifts_A=particles.poses.shifts_A)
    rows = torch.nonzero(~truth.junk)[:, 0]
    clean = clean_images(from_files, particles.optics, rows).numpy()
    residual = particles.images.read(rows.numpy()) - clean
    assert residual.var() == pytest.approx(1.0, abs=0.01)
    assert particles.random_subset is not None
    assert read_particles(folder / "particles.star").poses is None


def test_a_missing_truth_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"truth\.npz does not exist"):
        read_truth(tmp_path)


@pytest.mark.skipif(not SCORE.is_file(), reason="needs ../shared/referee/score.py")
def test_the_referee_scores_the_truth_as_perfect(folder, tmp_path, small_set):
    (tmp_path / "particles.star").write_text((folder / "truth.star").read_text())
    (tmp_path / "mean.mrc").write_bytes((folder / "mean.mrc").read_bytes())
    np.save(tmp_path / "latents.npy", small_set.truth.particle_coordinates.numpy()[:, None])
    command = [sys.executable, str(SCORE), str(tmp_path), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)
    assert figures["hand"] == 1
    assert figures["rot_median_deg"] < 0.1
    assert figures["rot_within_state_median_deg"] < 0.1
    assert figures["shift_median_A"] < 0.01
    assert figures["mean_fsc_auc"] > 0.45
    assert figures["latent_knn"] > 0.99

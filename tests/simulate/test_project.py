"""The projector against exact non-uniform Fourier sums, and the density of atoms against its formula."""

import math

import numpy as np
import pytest
import torch

from nunatak.core.fourier import fourier_map, half_plane, sample_images
from nunatak.geometry.rotations import random_rotations
from nunatak.simulate.project import make_projector, project, projection_mass
from nunatak.simulate.structures import AtomicModel, density, gaussian_width_A, resample_map

finufft = pytest.importorskip("finufft", reason="finufft gives the exact sums")


def noise_map(box, seed=0):
    """The hardest case: white noise up to the corners of the box."""
    return torch.randn(box, box, box, generator=torch.Generator().manual_seed(seed))


def exact_slices(volume, rotations, plane):
    """Non-uniform Fourier sums at kx R[0] + ky R[1], divided by the box; modes run from -(box // 2)."""
    box = volume.shape[0]
    k = torch.einsum("nk,bkj->bnj", plane.frequencies.double(), rotations[:, :2].double()).reshape(-1, 3)
    x, y, z = (2 * np.pi / box * k).T.contiguous().numpy()
    sums = finufft.nufft3d2(z, y, x, volume.numpy().astype(np.complex128), eps=1e-12, isign=-1)
    return torch.from_numpy(sums).reshape(len(rotations), -1) / box


@pytest.mark.parametrize("box", [32, 33])
def test_projector_agrees_with_exact_fourier_sums(box):
    volume, plane = noise_map(box), half_plane(box, box // 2 - 1)
    rotations = random_rotations(10, torch.Generator().manual_seed(1))
    exact = exact_slices(volume, rotations, plane)
    error = project(make_projector(volume), rotations, plane) - exact
    assert error.norm() / exact.norm() < 1e-3  # measured: 5e-4 at boxes 33 and 64
    assert error.abs().max() / exact.abs().max() < 2e-3


def test_untilted_view_is_the_sum_along_z():
    volume, plane = noise_map(24), half_plane(24, 11)
    slices = project(make_projector(volume), torch.eye(3)[None], plane)
    expected = sample_images(volume.sum(0)[None], plane)
    assert (slices - expected).norm() / expected.norm() < 2e-3
    assert projection_mass(volume) == pytest.approx(float(fourier_map(volume)[12, 12, 12].real), rel=1e-4)


def test_view_along_x_has_the_rows_of_the_rotation_as_axes():
    volume, plane = noise_map(24), half_plane(24, 11)
    # Image x is the volume's y, image y is its z: the view runs along x.
    rotation = torch.tensor([[[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]])
    expected = sample_images(volume.sum(2)[None], plane)
    slices = project(make_projector(volume), rotation, plane)
    assert (slices - expected).norm() / expected.norm() < 2e-3


def test_density_of_one_atom_is_a_gaussian_at_its_place():
    model = AtomicModel(np.array([[5.3, -8.0, 2.1]]), np.array([7.0]), np.array(["A"]), np.array([1]))
    grid = density(model, 24, 2.0, 12.0)
    assert float(grid.sum()) == pytest.approx(7.0, rel=1e-5)
    z, y, x = np.unravel_index(int(grid.argmax()), grid.shape)
    assert (x, y, z) == (12 + 3, 12 - 4, 12 + 1)
    sigma = gaussian_width_A(12.0)
    height = 7.0 * (2.0 / (math.sqrt(2 * math.pi) * sigma)) ** 3
    offset = np.array([5.3 - 6, 0, 2.1 - 2])
    assert float(grid[z, y, x]) == pytest.approx(
        height * math.exp(-(offset**2).sum() / (2 * sigma**2)), rel=1e-3
    )


def test_resampling_a_map_equals_making_it_on_the_new_grid():
    atoms = np.random.default_rng(0).normal(0, 12, (40, 3))
    model = AtomicModel(atoms, np.ones(40), np.full(40, "A"), np.arange(40))
    fine, coarse = density(model, 61, 2.0, 16.0), density(model, 32, 3.7, 16.0)
    resampled = resample_map(fine, 2.0, 32, 3.7)
    assert (resampled - coarse).norm() / coarse.norm() < 0.02
    # and to a larger box than the map's own
    larger = resample_map(coarse, 3.7, 64, 2.0)
    assert (larger - density(model, 64, 2.0, 16.0)).norm() / larger.norm() < 0.03

"""One test per clause of docs/conventions.md, on a molecule whose answers are known in closed form."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from _blobs import molecule
from scipy.stats import multivariate_normal

from nunatak.core.fourier import fourier_map, half_plane, real_map, sample_images
from nunatak.geometry.rotations import (
    euler_from_matrices,
    geodesic_deg,
    matrices_from_euler,
    random_rotations,
)
from nunatak.geometry.so3_grid import rotation_grid
from nunatak.latent.subspace import LatentPosterior, whitening_gauge
from nunatak.metrics.fsc import (
    HALF_MAP_THRESHOLD,
    REFERENCE_THRESHOLD,
    fourier_shell_correlation,
    resolution_A,
)
from nunatak.metrics.pose_error import FLIP, align_frames
from nunatak.optics.ctf import CtfParameters, electron_wavelength_A, evaluate_ctf
from nunatak.projection.gridding import block_from_maps
from nunatak.projection.operator import Projector
from nunatak.search.marginal import ImageBatch, marginal_step, shift_phases, trial_shifts
from nunatak.search.polar import polar_plane
from nunatak.search.slice_bank import slice_bank

BOXES = (32, 33)
SOURCE = Path(__file__).resolve().parents[2] / "src" / "nunatak"


def rotations(count: int, seed: int = 0) -> torch.Tensor:
    return random_rotations(count, torch.Generator().manual_seed(seed))


def ctf_of_one(**changes: float) -> CtfParameters:
    values = {
        "defocus_u_A": 18000.0,
        "defocus_v_A": 15000.0,
        "astigmatism_angle_deg": 30.0,
        "voltage_kV": 300.0,
        "spherical_aberration_mm": 2.7,
        "amplitude_contrast": 0.1,
        "phase_shift_deg": 0.0,
    }
    return CtfParameters(**{name: torch.tensor([value]) for name, value in (values | changes).items()})


def close(found: torch.Tensor, expected: torch.Tensor, relative: float = 1e-4) -> None:
    scale = expected.abs().max()
    assert (found - expected).abs().max() <= relative * scale


@pytest.mark.parametrize("box", BOXES)
def test_clause_01_origin_is_voxel_box_halved_and_arrays_are_zyx(box: int) -> None:
    blobs = molecule()
    volume = blobs.map(box)
    origin = box // 2
    # The centre of mass, read off the array in the order z, y, x, is that of the blobs in the order x, y, z.
    axis = torch.arange(box, dtype=torch.float64) - origin
    mass = torch.stack(
        [(volume.sum((0, 1)) @ axis), (volume.sum((0, 2)) @ axis), (volume.sum((1, 2)) @ axis)]
    )
    close(mass / volume.sum(), (blobs.weights @ blobs.centres_px) / blobs.weights.sum())
    # And a point at the origin voxel has a transform that is real, positive and flat.
    point = torch.zeros(box, box, box)
    point[origin, origin, origin] = 1
    close(fourier_map(point), torch.full((box, box, box), 1 / box, dtype=torch.complex64))


@pytest.mark.parametrize("box", BOXES)
def test_clause_02_rows_are_image_axes_and_slices_are_projections(box: int) -> None:
    blobs, poses = molecule(), rotations(4)
    plane = half_plane(box, 10)
    images = torch.stack([blobs.image(box, pose) for pose in poses])
    points = torch.einsum("nk,pkd->pnd", plane.frequencies.double(), poses[:, :2].double())
    close(sample_images(images, plane), blobs.transform(points, box))
    projected = Projector(plane.frequencies, 10, box).forward(blobs.map(box)[None].float(), poses)[..., 0]
    close(projected, blobs.transform(points, box), 0.01)


def test_clause_02_relion_angles_are_passive_zyz() -> None:
    def rz(t: float) -> np.ndarray:
        c, s = math.cos(t), math.sin(t)
        return np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])

    def ry(t: float) -> np.ndarray:
        c, s = math.cos(t), math.sin(t)
        return np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])

    rot, tilt, psi = 25.0, 70.0, -110.0
    expected = rz(math.radians(psi)) @ ry(math.radians(tilt)) @ rz(math.radians(rot))
    found = matrices_from_euler(torch.tensor([rot, tilt, psi], dtype=torch.float64))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    # The direction of view is row 2: (sin tilt cos rot, sin tilt sin rot, cos tilt).
    np.testing.assert_allclose(found[2], [0.8516507, 0.3971312, 0.3420201], atol=1e-6)
    # At the poles rot is 0.
    polar = euler_from_matrices(matrices_from_euler(torch.tensor([[40.0, 0.0, 20.0], [40.0, 180.0, 20.0]])))
    np.testing.assert_allclose(polar, [[0, 0, 60], [0, 180, -20]], atol=1e-4)


@pytest.mark.parametrize("box", BOXES)
def test_clause_03_image_moved_by_plus_shift_is_centred(box: int) -> None:
    blobs, pose = molecule(), rotations(1)[0]
    pixel_size_A, shift_A = 2.5, torch.tensor([4.0, -3.0], dtype=torch.float64)
    plane = half_plane(box, 10)
    displaced = blobs.image(box, pose, moved_px=-shift_A / pixel_size_A)
    centred = sample_images(blobs.image(box, pose)[None], plane)
    s = plane.frequencies.double() / (box * pixel_size_A)
    close(sample_images(displaced[None], plane), centred * torch.exp(2j * math.pi * (s @ shift_A)))


@pytest.mark.parametrize("box", BOXES)
def test_clause_04_transforms_are_divided_by_the_box(box: int) -> None:
    blobs = molecule()
    grid = fourier_map(blobs.map(box))
    axis = torch.arange(box) - box // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    inside = x**2 + y**2 + z**2 < (0.3 * box) ** 2
    close(grid[inside], blobs.transform(torch.stack([x, y, z], -1), box)[inside])
    close(real_map(grid), blobs.map(box))
    noise = torch.randn(400, box, box, generator=torch.Generator().manual_seed(1))
    samples = sample_images(noise, half_plane(box, 12))
    assert samples.abs().pow(2).mean().item() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("box", BOXES)
def test_clause_05_half_plane_holds_each_independent_sample_once(box: int) -> None:
    radius = 9
    plane = half_plane(box, radius)
    found = [tuple(k) for k in plane.frequencies.tolist()]
    inside = {
        (kx, ky)
        for kx in range(-radius, radius + 1)
        for ky in range(-radius, radius + 1)
        if 0 < kx**2 + ky**2 <= radius**2
    }
    assert len(set(found)) == len(found)
    assert set(found) | {(-kx, -ky) for kx, ky in found} == inside
    assert all(kx > 0 or (kx == 0 and ky > 0) for kx, ky in found)
    smaller = half_plane(box, 5)
    assert torch.equal(plane.frequencies[: plane.count_within(5)], smaller.frequencies)
    radii = plane.frequencies.double().norm(dim=1)
    assert torch.equal(plane.shells, radii.round().long())
    assert half_plane(box, box).radius_px == (box - 1) // 2
    # Noise: independent samples have no covariance, and no covariance with their own conjugates.
    noise = torch.randn(3000, box, box, generator=torch.Generator().manual_seed(2))
    y = sample_images(noise, half_plane(box, 3))
    identity = torch.eye(y.shape[1], dtype=y.dtype)
    assert (y.T @ y.conj() / len(y) - identity).abs().max() < 0.12
    assert (y.T @ y / len(y)).abs().max() < 0.12


def test_clause_06_underfocus_is_positive_and_contrast_starts_positive() -> None:
    at_zero = torch.zeros(1, 2)
    assert evaluate_ctf(ctf_of_one(), at_zero).item() == pytest.approx(0.1, abs=1e-6)
    plate = evaluate_ctf(ctf_of_one(phase_shift_deg=90.0), at_zero).item()
    assert plate == pytest.approx(math.sin(math.pi / 2 + math.asin(0.1)), abs=1e-6)
    # Underfocus: with these optics protein stays positive up to the first zero and grows first.
    low = evaluate_ctf(ctf_of_one(), torch.tensor([[0.01, 0.0]])).item()
    assert 0.1 < low < 1
    assert electron_wavelength_A(torch.tensor([300.0])).item() == pytest.approx(0.0196875, rel=1e-4)
    # Along the astigmatism axis only defocus U counts.
    angle = math.radians(30.0)
    along = torch.tensor([[math.cos(angle), math.sin(angle)]]) * 0.05
    round_beam = ctf_of_one(defocus_v_A=18000.0)
    assert evaluate_ctf(ctf_of_one(), along).item() == pytest.approx(
        evaluate_ctf(round_beam, along).item(), abs=1e-6
    )


def test_clause_07_likelihood_counts_each_sample_once_without_a_half() -> None:
    generator = torch.Generator().manual_seed(3)
    sigma2 = torch.tensor([0.5, 2.0, 1.3], dtype=torch.float64)
    y, model = (torch.randn(3, generator=generator, dtype=torch.complex128) for _ in range(2))
    ctf = torch.tensor([0.3, -0.8, 0.5], dtype=torch.float64)
    clause = -((y - ctf * model).abs() ** 2 / sigma2).sum() - torch.log(math.pi * sigma2).sum()
    real = torch.view_as_real(y - ctf * model).reshape(-1)
    density = multivariate_normal(np.zeros(6), np.diag(np.repeat(sigma2.numpy() / 2, 2)))
    assert clause.item() == pytest.approx(density.logpdf(real.numpy()))
    noise = torch.randn(500, 32, 32, generator=generator) * 3
    samples = sample_images(noise, half_plane(32, 12))
    assert samples.real.var().item() == pytest.approx(4.5, rel=0.03)
    assert (samples / 3).abs().pow(2).mean().item() == pytest.approx(1, rel=0.03)


def test_clause_07_the_search_computes_that_likelihood() -> None:
    """Evidence of a marginal search over a small grid against the clause, summed pair by pair."""
    generator = torch.Generator().manual_seed(6)
    grid = rotation_grid(0)
    plane = polar_plane(3, grid.in_plane_count)
    block = block_from_maps(torch.randn(1, 16, 16, 16, generator=generator) * 0.3, 3)
    bank = slice_bank(block, grid, plane, torch.float32)
    shifts_px = torch.tensor([[0.0, 0.0], [1.0, -1.0], [0.5, 2.0]])
    phases = shift_phases(shifts_px, plane, 16)
    samples = torch.randn(4, len(plane), dtype=torch.complex64, generator=generator)
    transfer = torch.randn(4, len(plane), generator=generator)
    trials = trial_shifts(shifts_px, phases, shift_sd_px=2.0)
    found = marginal_step(bank, ImageBatch(samples, transfer), trials)
    # Whitened features carry sqrt(2): without it they are y / sigma and C / sigma of the clause.
    y, c = samples / math.sqrt(2), transfer / math.sqrt(2)
    slices = torch.complex(*bank.features.chunk(2, dim=1))
    models = slices[None, :] * phases.conj()[:, None]
    residual = y[:, None, None] - c[:, None, None] * models[None]
    ratio = (y.abs() ** 2).sum(1)[:, None, None] - (residual.abs() ** 2).sum(-1)
    prior = torch.log_softmax(-0.5 * (shifts_px**2).sum(1) / 2.0**2, 0)
    expected = torch.logsumexp((ratio + prior[None, :, None]).flatten(1), 1) - math.log(len(grid))
    torch.testing.assert_close(found.log_evidence, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("box", BOXES)
def test_clause_08_other_hand_gives_the_same_images(box: int) -> None:
    blobs, poses = molecule(), rotations(3)
    other = torch.tensor(FLIP, dtype=poses.dtype) @ poses
    for pose, mirrored_pose in zip(poses, other, strict=True):
        close(blobs.mirrored().image(box, mirrored_pose), blobs.image(box, pose))
        assert torch.linalg.det(mirrored_pose).item() == pytest.approx(1)
    first, second = euler_from_matrices(poses), euler_from_matrices(other)
    turned = (second - first) % 360
    torch.testing.assert_close(
        turned, torch.tensor([0.0, 0.0, 180.0], dtype=turned.dtype).expand(3, 3), atol=1e-3, rtol=0
    )
    frame = rotations(1, seed=5)[0].double().numpy()
    alignment = align_frames(other.double().numpy() @ frame, poses.double().numpy())
    assert alignment.hand == -1
    assert alignment.error_deg.max() < 1e-3


def test_clause_09_half_sets_are_labelled_one_and_two() -> None:
    """No half-set's label is compared with another number than 1 and 2, no index with 2."""
    allowed = {"random_subset": (1, 2), "rlnRandomSubset": (1, 2), "halves": (0, 1)}
    wrong = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for word, labels in allowed.items():
                if isinstance(node, ast.Compare) and word in ast.unparse(node.left):
                    numbers = [c.value for c in node.comparators if isinstance(c, ast.Constant)]
                    wrong += [
                        f"{path.name}:{node.lineno}" for n in numbers if type(n) is int and n not in labels
                    ]
    assert not wrong


def test_clause_10_latents_are_standard_normal_after_the_gauge_is_fixed() -> None:
    """The gauge makes latents white and puts what is common into the mean; volumes stay as they were."""
    generator = torch.Generator().manual_seed(4)
    maps = torch.randn(3, 4, 4, 4, generator=generator)
    means = torch.randn(500, 2, generator=generator) @ torch.tensor([[2.0, 0.5], [0.0, 0.7]]) + 3
    covariances = 0.1 * torch.eye(2).expand(500, 2, 2)
    before = LatentPosterior(means, covariances)
    gauge = whitening_gauge(before, maps)
    after, new_maps = gauge.latents(before), gauge.maps(maps)
    moment = after.means.T @ after.means / 500 + after.covariances.mean(0)
    torch.testing.assert_close(after.means.mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(moment, torch.eye(2), atol=1e-3, rtol=0)

    def volumes(latents: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
        return basis[0] + torch.einsum("nj,jzyx->nzyx", latents, basis[1:])

    torch.testing.assert_close(volumes(after.means, new_maps), volumes(means, maps), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(volumes(means, maps).mean(0), new_maps[0], atol=1e-3, rtol=1e-3)


def test_clause_11_shells_are_rounded_and_resolution_is_box_over_shell() -> None:
    box, pixel_size_A = 24, 3.0
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(2, box, box, box))
    found = fourier_shell_correlation(first, second)
    a, b = (np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(v))) for v in (first, second))
    axis = np.arange(box) - box // 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2)
    for shell in (0, 1, 5, 11):
        mine = np.round(radius) == shell
        expected = (a[mine] * b[mine].conj()).sum().real
        expected /= math.sqrt((np.abs(a[mine]) ** 2).sum() * (np.abs(b[mine]) ** 2).sum())
        assert found[shell] == pytest.approx(expected, abs=1e-10)
    # A curve that crosses exactly in shell 6, and comes back later: the first crossing counts.
    curve = np.array([1, 1, 1, 1, 1, 0.286, 0.0, 0.9, 0.9, 0, 0, 0, 0])
    assert resolution_A(curve, box, pixel_size_A) == pytest.approx(box * pixel_size_A / 5.5)
    assert (HALF_MAP_THRESHOLD, REFERENCE_THRESHOLD) == (0.143, 0.5)


UNITS = ("_A", "_A2", "_per_A", "_px", "_deg", "_rad", "_kV", "_mm", "_s", "_MB", "_GB")
QUANTITIES = (
    "shifts",
    "defocus",
    "voltage",
    "pixel_size",
    "resolution",
    "diameter",
    "wavelength",
    "angle",
    "aberration",
)


def test_clause_12_names_of_quantities_end_in_their_unit() -> None:
    """Fields of dataclasses and models, of a numeric type, whose name says that they have a dimension."""
    wrong = []
    for path in SOURCE.rglob("*.py"):
        for cls in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for node in cls.body if isinstance(cls, ast.ClassDef) else []:
                if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                    continue
                name, kind = node.target.id, ast.unparse(node.annotation)
                numeric = any(word in kind for word in ("float", "Tensor", "NDArray", "ndarray"))
                if numeric and any(q in name for q in QUANTITIES) and not name.endswith(UNITS):
                    wrong.append(f"{path.relative_to(SOURCE)}:{node.lineno}: {cls.name}.{name}")
    assert not wrong, "\n".join(wrong)


def test_clause_12_geodesic_distance_is_in_degrees() -> None:
    quarter = matrices_from_euler(torch.tensor([90.0, 0.0, 0.0]))
    assert geodesic_deg(quarter, torch.eye(3)).item() == pytest.approx(90, abs=1e-4)

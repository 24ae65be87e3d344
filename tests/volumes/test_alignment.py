"""Rigid motions of maps: applied, found again, and where moved maps agree."""

from __future__ import annotations

import torch
from torch import Tensor

from nunatak.geometry.rotations import geodesic_deg, rotation_from_vector
from nunatak.geometry.so3_grid import rotation_grid
from nunatak.volumes import alignment_kernels
from nunatak.volumes.alignment import (
    Motion,
    best_shifts,
    match,
    matches,
    move_maps,
    no_motion,
    reference_turned_maps,
    still_fraction,
    still_parts,
    turned_maps,
    whitened,
)

BOX = 24


def blobs(centres: Tensor, width_px: float = 1.6) -> Tensor:
    """(d, d, d) Gaussians at (k, 3) (x, y, z) voxels from the origin."""
    axis = torch.arange(BOX, dtype=torch.float32) - BOX // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], -1)
    return torch.exp(-((points[..., None, :] - centres) ** 2).sum(-1) / (2 * width_px**2)).sum(-1)


BODY = torch.tensor([[-6.0, 0, 1], [-3, 4, -2], [-2, -5, 0], [-5, 2, 4], [0, 0, -4], [-1, 3, 3]])
ARM = torch.tensor([[3.0, 1, 0], [6, 2, 1], [8, -1, 0]])


def turn(*vector_deg: float) -> Tensor:
    return rotation_from_vector(torch.deg2rad(torch.tensor([vector_deg]))).float()


def test_a_motion_moves_what_it_says() -> None:
    """Convention: V'(x) = V(Q x + s), so a blob at p goes to Q^T (p - s)."""
    motion = Motion(turn(20.0, -35.0, 10.0), torch.tensor([[1.0, -2.0, 0.5]]))
    moved = move_maps(blobs(BODY)[None], motion)[0]
    expected = blobs((BODY - motion.shifts_px) @ motion.rotations[0])
    assert float((moved - expected).norm() / expected.norm()) < 0.1
    still = move_maps(blobs(BODY)[None], no_motion(1, moved))[0]
    torch.testing.assert_close(still, blobs(BODY), rtol=0, atol=1e-4)


def test_the_compiled_turns_are_the_plain_ones() -> None:
    """To rounding, over the edge of the box too, where half of a voxel counts."""
    volume = torch.randn(13, 13, 13, generator=torch.Generator().manual_seed(0))
    rotations = torch.cat([turn(0.0, 0.0, 0.0), turn(0.0, 0.0, 45.0), turn(100.0, -60.0, 20.0)])
    expected = reference_turned_maps(volume, rotations)
    assert torch.equal(turned_maps(volume, rotations), alignment_kernels.turned_maps(volume, rotations))
    torch.testing.assert_close(turned_maps(volume, rotations), expected, rtol=0, atol=1e-4)


def test_shifts_are_found_to_the_voxel() -> None:
    reference = blobs(BODY)
    maps = torch.stack([reference.roll((0, -1, 2), (0, 1, 2)), reference])
    scores, shifts = best_shifts(reference, maps, 4)
    assert shifts.tolist() == [[-2.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    torch.testing.assert_close(scores, reference.norm().expand(2), rtol=1e-4, atol=1e-4)


def test_a_known_motion_is_found_again() -> None:
    reference = blobs(torch.cat([BODY, ARM]))
    truth = Motion(turn(0.0, 30.0, -20.0), torch.tensor([[1.0, 2.0, -1.0]]))
    moved = move_maps(reference[None], truth)[0]
    motion, score = match(moved, reference, rotation_grid(1).rotations(), (15.0, 7.5, 3.75, 1.9))
    assert float(geodesic_deg(motion.rotations, truth.rotations)) < 4.0
    assert float((motion.shifts_px - truth.shifts_px).abs().max()) < 1.0
    assert score > 0.95 * float(moved.norm())


def test_whitened_maps_have_equal_power_in_trusted_shells() -> None:
    from nunatak.core.fourier import fourier_map
    from nunatak.volumes.maps import radius_grid

    found = whitened(torch.stack([blobs(BODY), blobs(ARM)]), 6, torch.ones(12))
    torch.testing.assert_close(found.flatten(1).norm(dim=1), torch.ones(2))
    power = (fourier_map(found).abs() ** 2).mean(0).flatten()
    shells = radius_grid(BOX).round().long().flatten()
    mean = torch.bincount(shells, power) / torch.bincount(shells)
    assert float(mean[:7].max() / mean[:7].min()) < 2.0
    assert float(mean[7:].max()) < 1e-6 * float(mean[:7].max())


def test_still_parts_are_where_maps_agree() -> None:
    states = torch.stack([blobs(torch.cat([BODY, ARM @ turn(0, 0, angle)[0]])) for angle in (-60.0, 0, 60.0)])
    still = still_parts(states)
    at = lambda centre: float(still[tuple((centre.flip(0) + BOX // 2).round().long().tolist())])  # noqa: E731
    assert min(at(centre) for centre in BODY[:4]) > 0.9
    assert max(at(centre @ turn(0, 0, 60.0)[0]) for centre in ARM[1:]) < 0.1
    assert 0.4 < still_fraction(states) < 0.95
    assert still_fraction(states[:1].repeat(3, 1, 1, 1)) > 0.99


def test_a_process_without_rotations_of_its_own_matches_nothing() -> None:
    """Two processes that share one rotation: one of them has none."""
    volume = blobs(BODY)
    scores, shifts = matches(volume, volume, turn(0.0, 0.0, 0.0)[:0])
    assert scores.shape == (0,)
    assert shifts.shape == (0, 3)

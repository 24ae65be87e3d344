"""The marginal search against a plain loop over poses and shifts; its sparse path against its dense one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from _views import molecule_maps, wavy_transfer
from torch import Tensor

from nunatak.core.fourier import half_plane
from nunatak.geometry.rotations import geodesic_deg, random_rotations
from nunatak.geometry.so3_grid import rotation_grid, shift_disk
from nunatak.projection.gridding import block_from_maps
from nunatak.projection.operator import slice_block
from nunatak.search import marginal_kernels
from nunatak.search.marginal import (
    ImageBatch,
    TrialShifts,
    marginal_step,
    mass_near,
    shift_phases,
    trial_shifts,
)
from nunatak.search.marginal_sums import MarginalSums, dense_sums, sparse_sums
from nunatak.search.polar import polar_plane, turn_all
from nunatak.search.slice_bank import SliceBank, slice_bank

BOX, RADIUS = 16, 5


@dataclass(frozen=True)
class Search:
    """A bank, trial shifts and images whose pose and shift are on the grid."""

    bank: SliceBank
    batch: ImageBatch
    shifts_px: Tensor
    phases: Tensor
    pose: Tensor
    shift: Tensor

    def trials(self, shift_sd_px: float) -> TrialShifts:
        """The trial shifts under a prior."""
        return trial_shifts(self.shifts_px, self.phases, shift_sd_px)


def make_search(
    count: int = 6, noise: float = 1.0, signal: float = 3.0, order: int = 0, seed: int = 0
) -> Search:
    """Whitened images y = c P e^{2 pi i k t / box} + noise; `signal` is the rms of a clean sample."""
    generator = torch.Generator().manual_seed(seed)
    grid = rotation_grid(order)
    plane = polar_plane(RADIUS, grid.in_plane_count)
    block = block_from_maps(molecule_maps(BOX), RADIUS)
    rms = slice_block(block, grid.directions, plane.frequencies).abs().square().mean().sqrt()
    bank = slice_bank(block * (signal / rms), grid, plane, torch.float32)
    shifts = shift_disk(2.0, 1.0)
    phases = shift_phases(shifts, plane, BOX)
    pose = torch.randint(len(grid), (count,), generator=generator)
    shift = torch.randint(len(shifts), (count,), generator=generator)
    n = len(plane)
    slices = torch.complex(bank.features[pose, :n], bank.features[pose, n:])
    # A sample on a sparser ring stands for more area: sqrt(2 area) times the signal, the noise stays white.
    transfer = torch.sqrt(2 * plane.areas) * wavy_plane(count, plane.frequencies, generator)
    drawn = torch.randn(count, 2, n, generator=generator)
    samples = transfer * slices * phases[shift].conj() + noise * torch.complex(drawn[:, 0], drawn[:, 1])
    return Search(bank, ImageBatch(samples, transfer), shifts, phases, pose, shift)


def wavy_plane(count: int, frequencies: Tensor, generator: torch.Generator) -> Tensor:
    """The transfer functions of the other tests at polar points."""
    plane = half_plane(BOX, RADIUS)
    radial = wavy_transfer(count, plane, generator)
    nearest = torch.cdist(frequencies.float().abs(), plane.frequencies.float().abs()).argmin(1)
    return radial[:, nearest]


def log_posterior(search: Search, shift_sd_px: float, temperature: float = 1.0) -> Tensor:
    """(b, s, p) joint log weights, image by image: residual of the pose against that of pure noise."""
    bank, batch = search.bank, search.batch
    n = len(bank.plane)
    slices = torch.complex(bank.features[:, :n], bank.features[:, n:]).to(torch.complex128)
    prior = -0.5 * (search.shifts_px.double() ** 2).sum(1) / shift_sd_px**2
    prior = prior - torch.logsumexp(prior, 0) - math.log(len(slices))
    found = torch.zeros(len(batch.samples), len(search.shifts_px), len(slices), dtype=torch.float64)
    for i, (y, c) in enumerate(zip(batch.samples.to(torch.complex128), batch.transfer.double(), strict=True)):
        for s, phase in enumerate(search.phases.to(torch.complex128)):
            rest = (y * phase)[None] - c * slices
            # Unit variance in the real and in the imaginary part each: a half times the squared residual.
            ratio = 0.5 * (y.abs() ** 2).sum() - 0.5 * (rest.abs() ** 2).sum(1)
            found[i, s] = ratio / temperature + prior[s]
    return found


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_step_is_what_a_loop_over_poses_and_shifts_gives(temperature: float) -> None:
    search, shift_sd = make_search(signal=0.3), 1.2
    found = marginal_step(search.bank, search.batch, search.trials(shift_sd), temperature)
    joint = log_posterior(search, shift_sd, temperature)
    evidence = torch.logsumexp(joint.flatten(1), 1)
    weights = torch.exp(joint - evidence[:, None, None])
    torch.testing.assert_close(found.log_evidence.double(), evidence, rtol=1e-4, atol=1e-3)
    poses = len(search.bank.features)
    best = weights.flatten(1).max(1)
    assert (found.best_shift * poses + found.best_pose).tolist() == best.indices.tolist()
    torch.testing.assert_close(found.best_weight.double(), best.values, rtol=1e-3, atol=1e-5)
    moment = (weights.sum(2) * (search.shifts_px.double() ** 2).sum(1)).sum()
    assert found.shift_moment == pytest.approx(float(moment), rel=1e-3)


def test_sums_are_those_of_inserting_every_image_at_every_pose() -> None:
    """<sums, slices of any map> is the expected <c y, P> over the posterior, and the same with the powers."""
    search = make_search(signal=0.3)
    found = marginal_step(search.bank, search.batch, search.trials(1.2))
    joint = log_posterior(search, 1.2)
    weights = torch.exp(joint - torch.logsumexp(joint.flatten(1), 1)[:, None, None])
    generator = torch.Generator().manual_seed(9)
    n = len(search.bank.plane)
    probe = torch.randn(len(search.bank.grid.directions), n, dtype=torch.complex64, generator=generator)
    turned = turn_all(probe, search.bank.plane).flatten(0, 1).double()
    weighted = (search.batch.samples * search.batch.transfer)[:, None] * search.phases
    features = torch.cat([weighted.real, weighted.imag], -1).double()
    expected = torch.einsum("bsp,bsf,pf->", weights, features, turned)
    total = (found.numerator.to(torch.complex128) * probe.conj()).sum().real
    assert float(total) == pytest.approx(float(expected), rel=1e-3)
    powers = torch.einsum("bp,bn->pn", weights.sum(1), search.batch.transfer.double() ** 2)
    assert float(found.denominator.sum()) == pytest.approx(float(powers.sum()), rel=1e-4)


def test_strong_images_are_found_at_their_pose_and_shift() -> None:
    search = make_search(20, signal=20.0, order=1)
    found = marginal_step(search.bank, search.batch, search.trials(2.0))
    assert found.best_pose.tolist() == search.pose.tolist()
    assert found.best_shift.tolist() == search.shift.tolist()
    assert (found.best_weight > 0.99).all()


def test_images_that_say_nothing_have_the_evidence_of_noise() -> None:
    search = make_search(3)
    blind = ImageBatch(search.batch.samples, torch.zeros_like(search.batch.transfer))
    found = marginal_step(search.bank, blind, search.trials(1.0))
    torch.testing.assert_close(found.log_evidence, torch.zeros(3), rtol=0, atol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_sparse_sums_are_the_dense_ones(temperature: float) -> None:
    """marginal_kernels.significant, weighed and accumulate against dense_weights and dense_sums."""
    search = make_search(12, signal=2.0, order=1)
    weighted, squared = search.batch.samples * search.batch.transfer, search.batch.transfer**2
    trials = search.trials(1.5)
    scores = search.bank.products(weighted, search.phases).bfloat16()
    norm = search.bank.norms(squared)
    flat = norm.transpose(1, 2).flatten(1).contiguous()
    found = marginal_kernels.significant(scores, flat, trials.log_prior, temperature, room=100_000)
    assert found is not None
    images = (search.bank, weighted, squared, search.phases, search.shifts_px)
    sparse = sparse_sums(*images, found)
    by_turn = scores.float().unflatten(2, (-1, search.bank.turns)).transpose(2, 3)
    whole = (by_turn - norm[:, None]) / temperature + trials.log_prior[:, None, None]
    assert_same_sums(sparse, dense_sums(*images, whole.contiguous()))


def assert_same_sums(sparse: MarginalSums, dense: MarginalSums) -> None:
    """Weights below exp(-9) of the best are left out: 0.2 % measured here."""
    for ours, theirs in ((sparse.numerator, dense.numerator), (sparse.denominator, dense.denominator)):
        assert float((ours - theirs).norm() / theirs.norm()) < 0.01
    torch.testing.assert_close(sparse.log_evidence, dense.log_evidence, rtol=0, atol=0.02)
    assert sparse.best_pose.tolist() == dense.best_pose.tolist()
    assert sparse.best_shift.tolist() == dense.best_shift.tolist()
    torch.testing.assert_close(sparse.best_weight, dense.best_weight, rtol=0.02, atol=1e-4)
    assert sparse.shift_moment == pytest.approx(dense.shift_moment, rel=0.02)


def test_accumulate_sums_a_single_entry_where_it_belongs() -> None:
    search = make_search(2)
    plane = search.bank.plane
    found = marginal_kernels.Significant(
        *(torch.tensor([value]).numpy() for value in (1, 3, 2 * plane.in_plane_count + 4)),
        torch.tensor([0.5]).numpy(),
        torch.zeros(2).numpy(),
    )
    weighted, squared = search.batch.samples * search.batch.transfer, search.batch.transfer**2
    directions = len(search.bank.grid.directions)
    numerator, denominator = marginal_kernels.accumulate(
        found, weighted, squared, search.phases, plane.turns, plane.mates, directions
    )
    value = 0.5 * weighted[1] * search.phases[3]
    value = torch.where(plane.mates[4], value.conj(), value)
    expected = torch.zeros(len(plane), dtype=torch.complex64).index_add_(0, plane.turns[4], value)
    torch.testing.assert_close(numerator[2], expected)
    assert not numerator[torch.arange(directions) != 2].any()
    assert float(denominator.sum()) == pytest.approx(float(0.5 * squared[1].sum()), rel=1e-5)


def test_significant_gives_up_where_a_posterior_is_flat() -> None:
    scores = torch.zeros(2, 3, 50, dtype=torch.bfloat16)
    norm, prior = torch.zeros(2, 50), torch.zeros(3)
    assert marginal_kernels.significant(scores, norm, prior, 1.0, room=149) is None
    found = marginal_kernels.significant(scores, norm, prior, 1.0, room=150)
    assert found is not None
    assert len(found.weight) == 300
    torch.testing.assert_close(torch.from_numpy(found.log_evidence), torch.full((2,), math.log(150.0)))


def test_flat_posteriors_take_the_dense_path_in_bfloat16() -> None:
    """Weak images on many poses: more entries than the fast path holds, and still the right sums."""
    search = make_search(4, signal=0.05, order=2)
    bank = replace(search.bank, dtype=torch.bfloat16)
    rough = marginal_step(bank, search.batch, search.trials(1.5))
    exact = marginal_step(search.bank, search.batch, search.trials(1.5))
    torch.testing.assert_close(rough.log_evidence, exact.log_evidence, rtol=0, atol=0.05)
    assert float((rough.numerator - exact.numerator).norm() / exact.numerator.norm()) < 0.02


@pytest.mark.parametrize(
    ("signal", "evidence_error", "sums_error"),
    [(0.6, 0.02, 0.015), (1.0, 0.05, 0.06), (2.0, 0.5, 0.35)],
    ids=["evidence 6", "evidence 17", "evidence 72"],
)
def test_bfloat16_scores_cost_little(signal: float, evidence_error: float, sums_error: float) -> None:
    """The whole fast path against float32: scores are rounded to 1/256, so clear images lose the most.

    Largest error of log evidence and relative error of the sums: 0.008 and 0.008, 0.03 and 0.025, 0.17 and
    0.15 measured.
    """
    search = make_search(20, signal=signal, order=2)
    bank = replace(search.bank, dtype=torch.bfloat16)
    rough = marginal_step(bank, search.batch, search.trials(1.5))
    exact = marginal_step(search.bank, search.batch, search.trials(1.5))
    assert float((rough.log_evidence - exact.log_evidence).abs().max()) < evidence_error
    assert float((rough.numerator - exact.numerator).norm() / exact.numerator.norm()) < sums_error


def test_mass_near_is_the_posterior_within_an_angle() -> None:
    search = make_search(5, signal=0.3)
    joint = log_posterior(search, 1.5)
    evidence = torch.logsumexp(joint.flatten(1), 1)
    per_pose = torch.exp(torch.logsumexp(joint, 1) - evidence[:, None])
    centres = random_rotations(5, torch.Generator().manual_seed(1))
    distance = geodesic_deg(centres[:, None], search.bank.grid.rotations()[None])
    arguments = (search.bank, search.batch, search.trials(1.5), centres)
    for within_deg in (45.0, 100.0):
        mass, found = mass_near(*arguments, within_deg)
        expected = (per_pose * (distance <= within_deg)).sum(1)
        torch.testing.assert_close(mass.double(), expected, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(found.double(), evidence, rtol=1e-4, atol=1e-3)
    everywhere = mass_near(*arguments, 180.0)[0]
    torch.testing.assert_close(everywhere, torch.ones(5), rtol=0, atol=1e-4)
    assert (everywhere <= 1).all()


def test_phases_centre_an_image_that_is_shifted() -> None:
    """Convention 3: Y = Slice exp(+2 pi i k.t / box) times the phases is the slice."""
    plane = polar_plane(RADIUS, 6)
    shifts = torch.tensor([[0.0, 0.0], [1.5, -2.0]])
    phases = shift_phases(shifts, plane, BOX)
    torch.testing.assert_close(phases[0], torch.ones(len(plane), dtype=torch.complex64))
    angle = 2 * math.pi / BOX * (plane.frequencies @ shifts[1].double())
    displaced = torch.polar(torch.ones_like(angle), angle).to(torch.complex64)
    torch.testing.assert_close(displaced * phases[1], torch.ones(len(plane), dtype=torch.complex64))


def test_a_bank_in_a_smaller_radius_scores_the_same_prefix() -> None:
    search = make_search(3)
    plane = search.bank.plane.within(3)
    n, whole = len(plane), len(search.bank.plane)
    block = block_from_maps(molecule_maps(BOX), RADIUS)
    small = slice_bank(block, search.bank.grid, plane, torch.float32)
    large = slice_bank(block, search.bank.grid, search.bank.plane, torch.float32)
    cut = torch.cat([large.features[:, :n], large.features[:, whole : whole + n]], 1)
    torch.testing.assert_close(small.features, cut)
    assert search.batch.within(n).samples.shape == (3, n)

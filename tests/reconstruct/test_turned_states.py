"""States that are one state turned come into one frame; states that are not stay where they are."""

from __future__ import annotations

from dataclasses import replace

import torch
from _made_images import blobs, images_of
from torch import Tensor

from nunatak.geometry.rotations import geodesic_deg, rotation_from_vector
from nunatak.reconstruct.model import Model, maximize
from nunatak.reconstruct.state import Context, RunState
from nunatak.reconstruct.turned_states import TURNED, turn_pass, were_turned

BOX, COUNT, RADIUS = 32, 1200, 10
TURN = rotation_from_vector(torch.tensor([[0.0, 0.0, torch.pi]], dtype=torch.float64)).float()[0]
EVEN, ARM_UP = slice(0, 600), slice(600, 1200)
STUCK = slice(900, 1200)


def dimer(arm: float) -> Tensor:
    """Two equal parts, half a turn about z apart, and an arm at one of them."""
    part = torch.randn(14, 3, generator=torch.Generator().manual_seed(4)) * 2.0 + torch.tensor([4.5, 0, 0])
    knob = torch.tensor([[8.0, 2.5, 1.0], [8.5, -1.0, -1.5], [6.0, 4.0, 0.0], [9.0, 1.0, 3.0]])
    return blobs(torch.cat([part, part @ TURN.T]), 1.7**0.5, BOX) + arm * blobs(knob, 1.7**0.5, BOX)


def found_so_far(states: Tensor, stuck: bool) -> tuple[Context, Model, Tensor]:
    """A set of two states, half of the images each, with latents that know them; and the true rotations.

    Where some are stuck, they lie half a turn from the truth, and in a place of their own in latent space.
    """
    weights = torch.zeros(COUNT, 2)
    weights[EVEN, 0] = weights[ARM_UP, 1] = 1
    context, right = images_of(states, weights, 4.0, RADIUS, radius_end_px=8, latent_dim=2)
    latents = 0.1 * torch.randn(COUNT, 2, generator=torch.Generator().manual_seed(1))
    latents[ARM_UP, 0] += 2
    rotations = right.candidates.rotations.clone()
    if stuck:
        latents[STUCK, 1] += 2
        rotations[STUCK] = rotations[STUCK] @ TURN
    own = replace(right.candidates, rotations=rotations, latents=latents)
    model = replace(
        right, candidates=own, covariances=torch.zeros(COUNT, 2, 2), correlation=torch.ones(3, BOX // 2)
    )
    made = maximize(model, context.cache, RADIUS, context.mask_fraction, True)
    return context, made, right.candidates.rotations


def test_images_of_a_state_that_got_stuck_half_a_turn_away_come_back() -> None:
    context, model, right = found_so_far(torch.stack([dimer(0.0), dimer(1.0)]), stuck=True)
    found = turn_pass(RunState(model=model), context)
    assert were_turned(found)
    assert found.kept[TURNED] == 1
    assert found.oriented.latent_dim == 0
    record = found.history[-1]
    assert (record["groups"], record["turned"]) == (3, 300)
    rotations = found.oriented.candidates.rotations
    assert torch.equal(rotations[EVEN], right[EVEN])
    error = geodesic_deg(rotations, right)
    one_frame = torch.minimum(error[ARM_UP].median(), geodesic_deg(rotations @ TURN, right)[ARM_UP].median())
    assert float(one_frame) < 5
    apart = geodesic_deg(rotations[600:900].mT @ right[600:900], rotations[STUCK].mT @ right[STUCK])
    assert float(apart.median()) < 5


def test_two_states_that_are_not_one_turned_stay() -> None:
    """The dimer repeats itself, and its images with the arm would be none the better for being turned."""
    context, model, right = found_so_far(torch.stack([dimer(0.0), dimer(1.0)]), stuck=False)
    found = turn_pass(RunState(model=model), context)
    assert not were_turned(found)
    assert found.history[-1]["groups"] == 2
    assert torch.equal(found.oriented.candidates.rotations, right)
    assert found.oriented.latent_dim == 2


def test_a_molecule_of_no_symmetry_is_left_alone() -> None:
    """Two states of a chain of parts that curves: no turn brings one onto the other, or it onto itself."""
    turns = torch.linspace(0, 4.0, 16)
    chain = torch.stack([9 * torch.cos(turns), 9 * torch.sin(turns), 2.5 * turns - 6], 1)
    heavy = blobs(chain, 1.7**0.5, BOX) + 2 * blobs(chain[:5], 1.7**0.5, BOX)
    context, model, right = found_so_far(torch.stack([heavy, heavy + 0.7 * dimer(0.0)]), stuck=False)
    found = turn_pass(RunState(model=model), context)
    assert not were_turned(found)
    assert torch.equal(found.oriented.candidates.rotations, right)

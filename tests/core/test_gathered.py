"""Columns that are filled in any order are those that are put together from pieces."""

from __future__ import annotations

import pytest
import torch

from nunatak.core.gathered import Gathered


def test_pieces_in_any_order_come_out_in_the_order_of_rows() -> None:
    draw = torch.Generator().manual_seed(0)
    numbers, turns = torch.randn(11, generator=draw), torch.randn(11, 3, 3, generator=draw).double()
    gathered = Gathered(11)
    for rows in torch.randperm(11, generator=draw).split(4):
        gathered.put(rows, numbers[rows], turns[rows], rows)
    found, found_turns, found_rows = gathered.columns()
    assert torch.equal(found, numbers)
    assert torch.equal(found_turns, turns)
    assert torch.equal(found_rows, torch.arange(11))


def test_a_later_piece_has_as_many_columns() -> None:
    gathered = Gathered(2)
    gathered.put(torch.tensor([0]), torch.zeros(1), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="zip"):
        gathered.put(torch.tensor([1]), torch.zeros(1))

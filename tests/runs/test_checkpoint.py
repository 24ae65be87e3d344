"""Checkpoints give back the very same state, or one sentence."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch

from nunatak.core.errors import InputError
from nunatak.reconstruct.consensus import ConsensusState
from nunatak.reconstruct.model import Model
from nunatak.reconstruct.state import Outcome, RunState
from nunatak.runs.checkpoint import load_checkpoint, save_checkpoint
from nunatak.search.candidates import Candidates
from nunatak.volumes.wiener import FourierSums, empty_sums


def white(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def a_start(seed: int) -> ConsensusState:
    sums = empty_sums(3, 1)
    numerator = torch.complex(
        white(*sums.numerator.shape, seed=seed), white(*sums.numerator.shape, seed=seed + 50)
    )
    sums = FourierSums(numerator, white(*sums.denominator.shape, seed=seed), 3)
    values = {
        "maps": white(1, 8, 8, 8, seed=seed),
        "sums": sums,
        "update": 7,
        "shift_sd_px": 1 / 3,
        "log_evidence": -float("inf"),
        "noise_factor": white(4, seed=seed),
    }
    # Fields that a start gains later take their defaults, or are named here when they have none.
    known = {f.name for f in dataclasses.fields(ConsensusState)}
    return ConsensusState(**{name: value for name, value in values.items() if name in known})


def a_state() -> RunState:
    """Everything that may be in one: starts, a model of two halves, infinities, shared tensors."""
    rows = torch.arange(5)
    latents = white(5, 2, seed=3)
    model = Model(
        maps=white(2, 3, 8, 8, 8),
        radius_px=3,
        correlation=white(3, 4),
        candidates=Candidates(white(5, 3, 3), white(5, 2), torch.ones(5), latents, rows),
        covariances=white(5, 2, 2),
        noise_variance=white(6).abs(),
        halves=rows % 2,
        log_evidence=white(5),
    )
    shared = white(5, seed=9)
    return RunState(
        stage=2,
        passes=3,
        starts=(a_start(1), a_start(2)),
        start_labels=(4, 0),
        model=model,
        maps=model.maps[0],
        pose_change_deg=float("inf"),
        confidence=shared,
        junk=shared,
        history=(
            {"stage": "random starts", "restart": 4, "log_evidence": 0.1 + 0.2, "fsc_resolution_A": None},
        ),
        outcome=Outcome.BUDGET,
    )


def assert_same(first: object, second: object) -> None:
    """Equal to the last bit, of the same types."""
    assert type(first) is type(second)
    if isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype
        assert torch.equal(first, second)
    elif dataclasses.is_dataclass(first):
        for field in dataclasses.fields(first):
            assert_same(getattr(first, field.name), getattr(second, field.name))
    elif isinstance(first, tuple):
        assert len(first) == len(second)
        for ours, theirs in zip(first, second, strict=True):
            assert_same(ours, theirs)
    else:
        assert first == second


def test_round_trip_is_exact_to_the_bit(tmp_path: Path) -> None:
    state = a_state()
    save_checkpoint(tmp_path, state, 12.345)
    loaded, elapsed = load_checkpoint(tmp_path)
    assert_same(state, loaded)
    assert elapsed == 12.345


def test_a_fresh_state_round_trips(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "deep" / "folder", RunState(), 0.0)
    loaded, _ = load_checkpoint(tmp_path / "deep" / "folder")
    assert_same(RunState(), loaded)


def test_nothing_saved_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path / "missing") is None


def test_the_last_state_wins_and_all_but_one_older_go(tmp_path: Path) -> None:
    state = a_state()
    for passes in range(4):
        state = dataclasses.replace(state, passes=passes, history=(*state.history, {"pass": passes}))
        save_checkpoint(tmp_path, state, float(passes))
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    loaded, elapsed = load_checkpoint(tmp_path)
    assert (loaded.passes, elapsed) == (3, 3.0)


def test_a_write_that_was_cut_short_leaves_the_state_before(tmp_path: Path) -> None:
    """What counts is the index, written last: files of a later state beside it change nothing."""
    save_checkpoint(tmp_path, a_state(), 1.0)
    (tmp_path / "state-99999.safetensors").write_bytes(b"half of a")
    loaded, _ = load_checkpoint(tmp_path)
    assert_same(a_state(), loaded)


def flip_a_bit(folder: Path) -> None:
    flip_a_bit_of(next(folder.glob("*.safetensors")))


def flip_a_bit_of(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))


def cut_tensors(folder: Path) -> None:
    path = next(folder.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:100])


def lose_tensors(folder: Path) -> None:
    next(folder.glob("*.safetensors")).unlink()


def cut_index(folder: Path) -> None:
    path = folder / "current.json"
    path.write_text(path.read_text()[:50])


def rewrite(folder: Path, change: dict[str, object]) -> None:
    path = folder / "current.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def strange_class(folder: Path) -> None:
    rewrite(folder, {"state": {"class": "Popen", "fields": {}}})


def strange_field(folder: Path) -> None:
    rewrite(folder, {"state": {"class": "RunState", "fields": {"colour": {"value": 1}}}})


def other_schema(folder: Path) -> None:
    rewrite(folder, {"schema": 999})


DAMAGES = [flip_a_bit, cut_tensors, lose_tensors, cut_index, strange_class, strange_field, other_schema]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_refused_with_one_sentence(tmp_path: Path, damage) -> None:
    save_checkpoint(tmp_path, a_state(), 1.0)
    damage(tmp_path)
    with pytest.raises(InputError, match=re.escape(str(tmp_path))) as caught:
        load_checkpoint(tmp_path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith("start the run anew.")


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, damage) -> None:
    first, second = a_state(), dataclasses.replace(a_state(), passes=4)
    save_checkpoint(tmp_path, first, 1.0)
    save_checkpoint(tmp_path, second, 2.0)
    current = json.loads((tmp_path / "current.json").read_text())["tensors"]
    kept = [path for path in tmp_path.glob("*.safetensors") if path.name != current]
    aside = [(path, path.read_bytes()) for path in kept]
    for path in kept:  # the damage is done to the only file it finds
        path.unlink()
    damage(tmp_path)
    for path, content in aside:
        path.write_bytes(content)
    loaded, elapsed = load_checkpoint(tmp_path)
    assert_same(first, loaded)
    assert elapsed == 1.0


def test_saving_the_same_state_again_keeps_the_one_before(tmp_path: Path) -> None:
    """A pass that is made again, after the state it led to was found damaged, has the same name."""
    first, second = a_state(), dataclasses.replace(a_state(), passes=4)
    save_checkpoint(tmp_path, first, 1.0)
    for elapsed in (2.0, 3.0):
        save_checkpoint(tmp_path, second, elapsed)
    flip_a_bit_of(tmp_path / json.loads((tmp_path / "current.json").read_text())["tensors"])
    loaded, _ = load_checkpoint(tmp_path)
    assert_same(first, loaded)


def test_files_hold_no_pickle(tmp_path: Path) -> None:
    """The index is plain JSON; the tensors begin with a header of safetensors."""
    save_checkpoint(tmp_path, a_state(), 1.0)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert len(files) == 2
    assert files[0] == "current.json"
    json.loads((tmp_path / "current.json").read_text())
    content = next(tmp_path.glob("*.safetensors")).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert all(
        entry["dtype"] in {"F32", "I64", "C64"} for name, entry in header.items() if name != "__metadata__"
    )
    assert not content.startswith((b"\x80", b"PK"))

"""Checkpoints: any tree of frozen dataclasses, tuples, tensors and plain values, as safetensors and JSON.

No pickle: the JSON names the classes, and only those of the engine's state are known when it is read back.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from nunatak.core.device import CPU
from nunatak.core.errors import InputError
from nunatak.io.atomic import write_text
from nunatak.latent.landscape import Landscape
from nunatak.reconstruct.consensus import ConsensusState
from nunatak.reconstruct.model import Model
from nunatak.reconstruct.molecules import Division
from nunatak.reconstruct.state import Outcome, RunState
from nunatak.runs.tensors import write_tensors
from nunatak.search.candidates import Candidates
from nunatak.volumes.wiener import FourierSums

_KNOWN = {
    c.__name__: c for c in (RunState, ConsensusState, FourierSums, Model, Candidates, Landscape, Division)
}
SCHEMA = 1


def _pack(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        # A copy, because states share tensors and the file format does not.
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {"tensor": path}
    if isinstance(value, Outcome):
        return {"outcome": value.value}
    if dataclasses.is_dataclass(value):
        packed = {
            f.name: _pack(getattr(value, f.name), f"{path}.{f.name}", tensors)
            for f in dataclasses.fields(value)
        }
        return {"class": type(value).__name__, "fields": packed}
    if isinstance(value, tuple):
        return {"tuple": [_pack(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]}
    if isinstance(value, dict):
        return {"dict": {key: _pack(item, f"{path}.{key}", tensors) for key, item in value.items()}}
    return {"value": value}


def _unpack(packed: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if "tensor" in packed:
        return tensors[packed["tensor"]]
    if "outcome" in packed:
        return Outcome(packed["outcome"])
    if "class" in packed:
        fields = {name: _unpack(item, tensors) for name, item in packed["fields"].items()}
        return _KNOWN[packed["class"]](**fields)
    if "tuple" in packed:
        return tuple(_unpack(item, tensors) for item in packed["tuple"])
    if "dict" in packed:
        return {key: _unpack(item, tensors) for key, item in packed["dict"].items()}
    return packed["value"]


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def save_checkpoint(folder: Path, state: RunState, elapsed_s: float) -> None:
    """Write a state; the file that makes it the current one is written last. The one before is kept too.

    Raises
    ------
    RunError
        The state cannot be written; the one before stays the current one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # A name that no earlier state had: the current one must stay whole until the new one is.
    name = f"state-{state.stage:02d}-{state.passes:04d}.safetensors"
    tensors: dict[str, torch.Tensor] = {}
    tree = _pack(state, "state", tensors)
    write_tensors(folder / name, tensors)
    content = {
        "schema": SCHEMA,
        "tensors": name,
        "sha256": _digest(folder / name),
        "elapsed_s": elapsed_s,
        "state": tree,
    }
    index, before = folder / "current.json", folder / "previous.json"
    if _tensors_of(index) not in (None, name):
        write_text(before, index.read_text())
    write_text(index, json.dumps(content))
    # What is neither: older states, and parts that a kill left behind.
    for stale in [*folder.glob("state-*.safetensors"), *folder.glob(".*.part")]:
        if stale.name not in (name, _tensors_of(before)):
            stale.unlink(missing_ok=True)


def _tensors_of(index: Path) -> str | None:
    """Name of the file with an index' tensors; None where there is no index or it is damaged."""
    try:
        return str(json.loads(index.read_text())["tensors"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def load_checkpoint(folder: Path, device: torch.device = CPU) -> tuple[RunState, float] | None:
    """The current state, on a device, and the seconds it took; None where nothing was saved yet.

    Where it is damaged, the one before it: a pass is made again, and comes to the same numbers.

    Raises
    ------
    InputError
        Both are damaged, or of another version.
    """
    index, before = folder / "current.json", folder / "previous.json"
    try:
        return _load(index, device)
    except InputError:
        if not before.exists():
            raise
        try:
            return _load(before, device)
        except InputError:
            pass
        raise


def _load(index: Path, device: torch.device) -> tuple[RunState, float] | None:
    folder = index.parent
    if not index.exists():
        return None
    try:
        content = json.loads(index.read_text())
        tensors_path = folder / content["tensors"]
        if content["schema"] != SCHEMA:
            raise InputError(
                f"{index} has schema {content['schema']}, expected {SCHEMA}: start the run anew."
            )
        if _digest(tensors_path) != content["sha256"]:
            raise InputError(f"{tensors_path} is damaged (its checksum does not match): start the run anew.")
        tensors = {name: tensor.to(device) for name, tensor in load_file(tensors_path).items()}
        return _unpack(content["state"], tensors), float(content["elapsed_s"])
    except (OSError, KeyError, ValueError, TypeError, AttributeError, SafetensorError) as error:
        raise InputError(
            f"The checkpoint in {folder} cannot be read ({error}): start the run anew."
        ) from error

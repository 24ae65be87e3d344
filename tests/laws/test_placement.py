"""Tensors are made where their operands live, and leave a GPU only where that is meant.

In the rooms of the engine every torch function that makes a tensor from nothing names its device, or is moved
in the same expression (random numbers, which are drawn on the CPU), or is listed below with the reason. And
tensors go to the host, or to numpy, in kernels and in the listed places only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from _source import SOURCE, Function, Module, dotted, modules

ROOMS = {"geometry", "optics", "projection", "volumes", "search", "latent", "reconstruct"}
FILES = {
    "core/fourier.py",
    "core/device.py",
    "particles/cache.py",
    "particles/ingest.py",
    "particles/stored.py",
}
MAKERS = {
    "arange", "as_tensor", "empty", "eye", "from_numpy", "full", "linspace", "logspace", "ones", "rand",
    "randint", "randn", "randperm", "tensor", "tril_indices", "triu_indices", "zeros",
}  # fmt: skip
LEAVERS = {"numpy", "cpu"}

# (file, function): why it may.
MADE_ON_THE_CPU = {
    ("core/fourier.py", "half_plane"): "cached; who needs it elsewhere moves it",
    (
        "geometry/rotations.py",
        "random_rotations",
    ): "draws on the CPU, so that every device has the same numbers",
    ("geometry/so3_grid.py", "rotation_grid"): "cached; who needs it elsewhere moves it",
    ("geometry/so3_grid.py", "tangent_offsets"): "a handful of vectors",
    ("geometry/so3_grid.py", "shift_disk"): "a handful of shifts",
    ("particles/cache.py", "build_cache"): "small sums over all images, moved once",
    ("reconstruct/fixed.py", ""): "no turn: three zeros of which only their number is looked at",
    ("reconstruct/passes.py", ""): "no turn: three zeros of which only their number is looked at",
    ("reconstruct/state.py", "halves"): "made on the CPU and moved once",
    (
        "reconstruct/pose_encoding.py",
        "made_images",
    ): "drawn on the CPU, so that every device has the same numbers",
    ("search/hierarchical.py", "shift_axis"): "a handful of shifts",
    ("search/marginal_sums.py", "sparse_sums"): "of what the compiled kernel returns",
    ("search/polar.py", "polar_plane"): "made once; who needs it elsewhere moves it",
}
LEFT_THE_DEVICE = {
    ("reconstruct/frames.py", "group_states"): "k-means is scikit-learn's, once a run",
    ("reconstruct/molecules.py", "_grouped"): "Gaussian groups are scikit-learn's, once a run",
    ("particles/ingest.py", "read"): "row numbers, to find rows in a file",
    ("particles/stored.py", "__getitem__"): "row numbers, to find rows in a file",
    ("particles/stored.py", "write"): "to the disk",
    ("search/marginal_sums.py", "sparse_sums"): "of what the compiled kernel returns",
    ("volumes/fsc.py", "first_shell_below"): "a curve of a few numbers that are looked at one by one",
}


def is_looked_at(module: Module) -> bool:
    inside = str(module.path.relative_to(module.root))
    kernel = module.path.stem.endswith("kernels")
    return (module.room in ROOMS or inside in FILES) and not kernel


def calls(module: Module) -> Iterator[tuple[str, ast.Call, bool]]:
    """Every call with the function that it stands in, and whether what it makes is moved by `.to(`."""

    def walk(node: ast.AST, owner: str, moved: bool) -> Iterator[tuple[str, ast.Call, bool]]:
        if isinstance(node, Function):
            owner = node.name
        for child in ast.iter_child_nodes(node):
            is_moved = moved and not isinstance(child, ast.stmt)
            if isinstance(child, ast.Call):
                yield owner, child, is_moved
                # What `.to(device)` is called on is moved; its arguments are not.
                to = isinstance(child.func, ast.Attribute) and child.func.attr == "to"
                yield from walk(child.func, owner, is_moved or (to and bool(child.args)))
                for argument in [*child.args, *child.keywords]:
                    yield from walk(ast.Expression(body=argument), owner, False)  # type: ignore[arg-type]
            else:
                yield from walk(child, owner, is_moved)

    yield from walk(module.tree, "", False)


def names_device(call: ast.Call) -> bool:
    """By keyword, or in a dictionary of keywords."""
    return any(keyword.arg in {"device", None} for keyword in call.keywords)


def homeless(module: Module) -> Iterator[tuple[tuple[str, str], str]]:
    inside = str(module.path.relative_to(module.root))
    for owner, call, moved in calls(module):
        parts = dotted(call.func).split(".")
        makes = parts[0] == "torch" and len(parts) == 2 and parts[1] in MAKERS
        if makes and not moved and not names_device(call):
            yield (inside, owner), f"{module.at(call)}: {owner}: torch.{parts[1]} names no device"


def leaving(module: Module) -> Iterator[tuple[tuple[str, str], str]]:
    inside = str(module.path.relative_to(module.root))
    for owner, call, _ in calls(module):
        if isinstance(call.func, ast.Attribute) and call.func.attr in LEAVERS and not call.args:
            yield (inside, owner), f"{module.at(call)}: {owner}: .{call.func.attr}() leaves the device"


def check(law, allowed: dict[tuple[str, str], str]) -> None:
    found = [entry for module in modules() if is_looked_at(module) for entry in law(module)]
    wrong = [line for place, line in found if place not in allowed]
    assert not wrong, "\n".join(wrong)
    unused = sorted(set(allowed) - {place for place, _ in found})
    assert not unused, f"listed without need: {unused}"


def test_tensors_are_made_where_they_are_used() -> None:
    check(homeless, MADE_ON_THE_CPU)


def test_tensors_leave_a_device_only_where_that_is_meant() -> None:
    check(leaving, LEFT_THE_DEVICE)


def test_devices_are_asked_for_kernels_in_one_place() -> None:
    """`device.type` is compared in core/device.py; search/slice_bank.py picks a number format by it."""
    asking = {
        str(module.path.relative_to(SOURCE))
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and node.attr == "type"
        and isinstance(node.value, ast.Name | ast.Attribute)
        and (dotted(node.value).split(".")[-1] in {"device", "chosen"})
    }
    assert asking == {"core/device.py", "runs/machine.py", "search/slice_bank.py"}


CROOKED = """
import torch

def wrong(x, device, generator):
    a = torch.zeros(3)
    b = torch.arange(4).double()
    c = x.to(torch.ones(2))
    return a, b, c, x.cpu(), x.numpy()

def right(x, device, generator):
    exact = {"device": device}
    a = torch.zeros(3, device=device)
    b = torch.randperm(4, generator=generator)[:2].to(device)
    return a, b, torch.ones(2, **exact), x.new_zeros(3), torch.zeros_like(x)
"""


def test_the_laws_can_fail(tmp_path: Path) -> None:
    root = tmp_path / "house"
    (root / "search").mkdir(parents=True)
    (root / "search" / "crooked.py").write_text(CROOKED)
    (module,) = modules(root)
    assert is_looked_at(module)
    assert [place[1] for place, _ in homeless(module)] == ["wrong"] * 3
    assert [place[1] for place, _ in leaving(module)] == ["wrong"] * 2

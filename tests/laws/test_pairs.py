"""Every fast kernel has a slow reference, and a test that names both.

A kernel module is a file `kernels.py` or `*_kernels.py`; its docstring names a reference module by name
(dotted). The reference of a kernel `f` is, in that module, `f` or `reference_f`, with the same arguments. A
kernel that does only a part of the slow path says so in its docstring: "Reference:
nunatak.room.module.function". What is compared is the source text, so that numba need not be loaded.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from _source import REPOSITORY, Function, Module, is_compiled, modules

KERNEL_FILE = re.compile(r"(^|_)kernels$")


def kernel_modules(root: Path | None = None) -> list[Module]:
    every = modules(root) if root else modules()
    return [module for module in every if KERNEL_FILE.search(module.path.stem)]


def functions(module: Module) -> dict[str, Function]:
    return {node.name: node for node in module.tree.body if isinstance(node, Function)}


def kernels(module: Module) -> dict[str, Function]:
    """The module's surface: functions without underscore that are not numba's own helpers."""
    return {
        name: f for name, f in functions(module).items() if not name.startswith("_") and not is_compiled(f)
    }


def call_shape(node: Function) -> str:
    """Names and defaults of the arguments, without their types."""
    bare = ast.parse(ast.unparse(node)).body[0]
    for argument in ast.walk(bare):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return ast.unparse(bare.args)  # type: ignore[attr-defined]


def reference_of(module: Module, name: str) -> tuple[str, str]:
    """(name of the reference function, what is wrong): one of the two is empty."""
    by_name = {other.name: other for other in modules(module.root)}
    own = ast.get_docstring(kernels(module)[name]) or ""
    said = re.search(rf"Reference: ({module.root.name}(?:\.\w+)+)\.(\w+)", own)
    if said:
        place, function = said.groups()
        known = place in by_name and function in functions(by_name[place])
        return (function, "") if known else ("", f"the reference {place}.{function} does not exist")
    text = ast.get_docstring(module.tree) or ""
    places = [place for place in re.findall(rf"{module.root.name}(?:\.\w+)+", text) if place in by_name]
    for place in places:
        slow = functions(by_name[place])
        # The dispatcher often has the kernel's name: where there is a reference_f, that is the slow path.
        for function in (f"reference_{name}", name):
            if function in slow:
                theirs, ours = call_shape(slow[function]), call_shape(kernels(module)[name])
                return (function, "") if theirs == ours else ("", f"({ours}) but {function} has ({theirs})")
    return "", f"no {name} or reference_{name} in {places or 'a module that the docstring names'}"


def unpaired(module: Module, tests: list[str]) -> Iterator[str]:
    for name, node in kernels(module).items():
        function, wrong = reference_of(module, name)
        if wrong:
            yield f"{module.at(node)}: {name}: {wrong}"
        needed = (module.path.stem, name, function)
        if function and not any(all(re.search(rf"\b{word}\b", text) for word in needed) for text in tests):
            yield f"{module.at(node)}: {name}: no test speaks of {module.path.stem}, {name} and {function}"


def test_every_kernel_has_a_reference() -> None:
    tests = [
        path.read_text(encoding="utf-8")
        for path in (REPOSITORY / "tests").rglob("test_*.py")
        if path != Path(__file__)
    ]
    wrong = [line for module in kernel_modules() for line in unpaired(module, tests)]
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    root = tmp_path / "house"
    (root / "room").mkdir(parents=True)
    slow = [
        "def paired(a, b: int = 1): ...",
        "def differs(a): ...",
        "def reference_other(x): ...",
        "def _dense(): ...",
    ]
    fast = [
        '"""Fast twins of house.room.slow."""',
        "def paired(a, b=1): ...",
        "def differs(a, b): ...",
        "def other(x): ...",
        "def alone(): ...",
        'def part(): "Reference: house.room.slow._dense."',
        'def lost(): "Reference: house.room.slow.nothing."',
    ]
    (root / "room" / "slow.py").write_text("\n".join(slow))
    (root / "room" / "kernels.py").write_text("\n".join(fast))
    return root


def test_the_law_can_fail(house: Path) -> None:
    test = "from house.room import kernels\nfor name in ('paired', 'other', 'reference_other', 'part'): ...\n"
    wrong = [line for module in kernel_modules(house) for line in unpaired(module, [test])]
    assert [line.split(": ")[1] for line in wrong] == ["differs", "alone", "part", "lost"], wrong

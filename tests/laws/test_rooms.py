"""A room imports only from lower floors; the floors are those of docs/architecture.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from _source import SOURCE, Module, floors, modules


def imports(module: Module, names: set[str]) -> list[tuple[ast.AST, str]]:
    """(statement, dotted name) for every import of the package itself, function-level ones included."""
    package = module.root.name
    here = module.parts if module.path.name == "__init__.py" else module.parts[:-1]
    found: list[tuple[ast.AST, str]] = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found += [(node, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "").split(".") if node.module else []
            if node.level:
                base = [*here[: len(here) - node.level + 1], *base]
            for alias in node.names:
                full = ".".join([*base, alias.name])
                # `from nunatak.core import errors` names a module, `... import require` something in one.
                found.append((node, full if full in names or len(base) < 2 else ".".join(base)))
    return [(node, name) for node, name in found if name.split(".")[0] == package]


def room_violations(root: Path, floor_of: dict[str, int]) -> list[str]:
    every = modules(root)
    names = {module.name for module in every}
    wrong = []
    for module in every:
        if not module.room:
            continue
        for node, name in imports(module, names):
            target = name.split(".")[1] if "." in name else ""
            if target == module.room or target == "__version__":
                continue
            if target not in floor_of:
                wrong.append(f"{module.at(node)}: {name}: rooms do not enter through the front door")
            elif floor_of[target] >= floor_of[module.room]:
                wrong.append(f"{module.at(node)}: {module.room} may not import {name}")
    return wrong


def circles(root: Path) -> list[str]:
    """Modules that reach themselves through imports."""
    every = {module.name: module for module in modules(root)}
    names = set(every)
    edges = {
        name: {target for _, target in imports(module, names) if target in names and target != name}
        for name, module in every.items()
        if module.room
    }

    def reaches(start: str) -> bool:
        seen: set[str] = set()
        frontier = set(edges.get(start, ()))
        while frontier:
            node = frontier.pop()
            if node == start:
                return True
            if node not in seen:
                seen.add(node)
                frontier |= edges.get(node, set())
        return False

    return sorted(name for name in edges if reaches(name))


def test_every_room_is_in_the_picture() -> None:
    rooms = {module.room for module in modules() if module.room}
    assert rooms <= set(floors()), f"rooms missing from docs/architecture.md: {sorted(rooms - set(floors()))}"


def test_front_door_is_two_files() -> None:
    loose = {module.path.name for module in modules() if not module.room}
    assert loose <= {"__init__.py", "__main__.py"}, f"files outside any room: {loose}"


def test_doors_are_one_way() -> None:
    wrong = room_violations(SOURCE, floors())
    assert not wrong, "\n".join(wrong)


def test_no_circles() -> None:
    assert not circles(SOURCE)


@pytest.fixture
def crooked_house(tmp_path: Path) -> Path:
    """A package that breaks each rule once, so that the law is known to be able to fail."""
    root = tmp_path / "house"
    files = {
        "__init__.py": "",
        "low/__init__.py": "",
        "low/a.py": "def late():\n    from house.high import b\n    return b\n",
        "high/__init__.py": "",
        "high/b.py": "from . import c\n",
        "high/c.py": "from house.high.b import something\n",
        "beside/__init__.py": "import house.high.b\n",
        "top/__init__.py": "from house import something\nfrom house.low.a import late\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_law_can_fail(crooked_house: Path) -> None:
    wrong = room_violations(crooked_house, {"low": 1, "high": 2, "beside": 2, "top": 3})
    assert len(wrong) == 3, wrong
    assert any("low may not import house.high" in line for line in wrong)
    assert any("beside may not import house.high.b" in line for line in wrong)
    assert any("front door" in line for line in wrong)
    assert circles(crooked_house) == ["house.high.b", "house.high.c"]

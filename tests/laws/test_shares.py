"""Images are looked up in a few places of the engine: those that know that a process may hold only some."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from _source import Function, Module, modules

ALLOWED = {
    ("reconstruct/model.py", "images_within"): "rows of the whole set to those that are held",
    ("reconstruct/consensus.py", "_samples"): "of rows that are held, to their polar samples",
    ("reconstruct/consensus.py", "batch"): "rows of the whole set to those that are held",
    ("reconstruct/bank_search.py", "search_with_bank"): "its recipes compute in one process",
    ("reconstruct/bank_search.py", "_score_poses"): "samples of one image, looked up before",
    ("reconstruct/neural_views.py", "within"): "of images looked up before, their samples",
    ("reconstruct/pose_encoding.py", "of"): "of images looked up before",
    ("reconstruct/pose_encoding.py", "best_copies"): "of images looked up before",
}


def lookups(module: Module) -> Iterator[tuple[tuple[str, str], str]]:
    """Every `something.samples[...]` or `.transfer[...]` that is read, with the function it stands in."""
    inside = str(module.path.relative_to(module.root))

    def walk(node: ast.AST, owner: str) -> Iterator[tuple[tuple[str, str], str]]:
        for child in ast.iter_child_nodes(node):
            name = child.name if isinstance(child, Function) else owner
            held = isinstance(child, ast.Subscript) and isinstance(child.value, ast.Attribute)
            if held and child.value.attr in {"samples", "transfer"}:
                yield (inside, name), f"{module.at(child)}: {name}: images are looked up by row"
            yield from walk(child, name)

    yield from walk(module.tree, "")


def test_images_are_looked_up_where_shares_are_known() -> None:
    found = [entry for module in modules() if module.room == "reconstruct" for entry in lookups(module)]
    wrong = [line for place, line in found if place not in ALLOWED]
    assert not wrong, "\n".join(wrong)
    unused = sorted(set(ALLOWED) - {place for place, _ in found})
    assert not unused, f"listed without need: {unused}"


def test_the_law_can_fail(tmp_path: Path) -> None:
    root = tmp_path / "house"
    (root / "reconstruct").mkdir(parents=True)
    (root / "reconstruct" / "crooked.py").write_text(
        "def wrong(cache, rows):\n    return cache.samples[rows], cache.transfer[rows, :3], cache.tiles[0]\n"
    )
    (module,) = modules(root)
    assert [place[1] for place, _ in lookups(module)] == ["wrong"] * 2

"""What the law tests share: the parsed source, and the rooms as docs/architecture.md lists them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src" / "nunatak"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file of a package rooted at `root`."""

    path: Path
    root: Path

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"), filename=str(self.path))

    @property
    def parts(self) -> tuple[str, ...]:
        """Dotted name as a tuple, the package first; a room's __init__ is the room itself."""
        relative = self.path.relative_to(self.root).with_suffix("").parts
        return (self.root.name, *(relative[:-1] if relative[-1] == "__init__" else relative))

    @property
    def name(self) -> str:
        return ".".join(self.parts)

    @property
    def room(self) -> str:
        """The folder below the package, or '' for files of the front door."""
        folders = self.path.relative_to(self.root).parts
        return folders[0] if len(folders) > 1 else ""

    @property
    def is_public(self) -> bool:
        return not any(part.startswith("_") for part in self.parts[1:])

    def at(self, node: ast.AST) -> str:
        return f"{self.path.relative_to(self.root.parent)}:{getattr(node, 'lineno', 0)}"

    def functions(self) -> Iterator[tuple[Function, bool]]:
        """Every function of the file, nested ones too, and whether it is a method."""
        for parent in ast.walk(self.tree):
            for node in ast.iter_child_nodes(parent):
                if isinstance(node, Function):
                    yield node, isinstance(parent, ast.ClassDef)

    def classes(self) -> list[ast.ClassDef]:
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]


@lru_cache(maxsize=8)
def modules(root: Path = SOURCE) -> tuple[Module, ...]:
    """Every Python file of a package."""
    return tuple(Module(path, root) for path in sorted(root.rglob("*.py")))


@lru_cache(maxsize=1)
def floors() -> dict[str, int]:
    """Room -> floor, from the one fenced block `rooms` of docs/architecture.md."""
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```rooms\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    if len(blocks) != 1:
        raise ValueError(f"docs/architecture.md must hold exactly one ```rooms block, found {len(blocks)}")
    lines = [line.split(maxsplit=2) for line in blocks[0].splitlines() if line.strip()]
    return {room: int(floor) for floor, room, _ in lines}


def arguments(node: Function, is_method: bool) -> list[ast.arg]:
    """Positional-or-keyword arguments, self and cls left out."""
    found = [*node.args.posonlyargs, *node.args.args]
    decorators = {d.id for d in node.decorator_list if isinstance(d, ast.Name)}
    return found[1:] if is_method and "staticmethod" not in decorators else found


def is_compiled(node: Function) -> bool:
    """A loop nest for numba, which takes bare arrays and cannot be divided into functions freely."""
    return any(
        word in ast.unparse(d) for d in node.decorator_list for word in ("njit", "intrinsic", "vectorize")
    )


def code_lines(node: Function) -> int:
    """Lines from `def` to the end, the docstring left out."""
    total = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        total -= (first.end_lineno or first.lineno) - first.lineno + 1
    return total


def dotted(node: ast.AST) -> str:
    """`np.random.seed` for the expression of that name; '' for anything that is not a dotted name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        left = dotted(node.value)
        return f"{left}.{node.attr}" if left else ""
    return ""

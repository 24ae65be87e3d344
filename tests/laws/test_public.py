"""What the outside sees: described, annotated, and quick to import."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from collections.abc import Iterator

from _source import Function, Module, arguments, is_compiled, modules

import nunatak

HEAVY = ("torch", "numba", "scipy", "pandas", "matplotlib", "sklearn", "gemmi", "pydantic", "rich")
IMPORT_SECONDS = 1.0


def public_functions(module: Module) -> Iterator[tuple[str, Function, bool]]:
    """(qualified name, node, is method) of module-level functions and of methods of public classes."""
    for node in module.tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node.name, node, False
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if isinstance(method, Function) and not method.name.startswith("_"):
                    yield f"{node.name}.{method.name}", method, True


def public_modules() -> list[Module]:
    return [module for module in modules() if module.is_public]


def test_modules_and_classes_say_what_they_are() -> None:
    wrong = [
        f"{m.at(m.tree)}: no module docstring"
        for m in public_modules()
        if not ast.get_docstring(m.tree) and m.room
    ]
    for module in public_modules():
        for node in module.tree.body:
            if (
                isinstance(node, ast.ClassDef)
                and not node.name.startswith("_")
                and not ast.get_docstring(node)
            ):
                wrong.append(f"{module.at(node)}: class {node.name} has no docstring")
    wrong = [line for line in wrong if "__init__" not in line]
    assert not wrong, "\n".join(wrong)


def test_functions_say_what_they_do() -> None:
    """A method may leave its docstring to the interface that declares it."""
    described = {
        node.name
        for module in modules()
        for cls in module.classes()
        for node in cls.body
        if isinstance(node, Function) and ast.get_docstring(node)
    }
    wrong = [
        f"{module.at(node)}: {name} has no docstring"
        for module in public_modules()
        for name, node, is_method in public_functions(module)
        if not ast.get_docstring(node) and not (is_method and node.name in described)
    ]
    assert not wrong, "\n".join(wrong)


def test_functions_are_annotated() -> None:
    wrong = []
    for module in public_modules():
        for name, node, is_method in public_functions(module):
            if is_compiled(node):
                continue  # numba infers the types of its own kernels
            bare = [
                a.arg for a in [*arguments(node, is_method), *node.args.kwonlyargs] if a.annotation is None
            ]
            bare += ["return"] if node.returns is None else []
            if bare:
                wrong.append(f"{module.at(node)}: {name}: not annotated: {', '.join(bare)}")
    assert not wrong, "\n".join(wrong)


def test_import_is_quick_and_silent() -> None:
    """The front door is lazy: nothing heavy is loaded before it is asked for."""
    probe = f"import sys, nunatak; print([m for m in {HEAVY!r} if m in sys.modules])"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    took = time.perf_counter() - start
    assert done.stdout.strip() == "[]", f"import nunatak loads {done.stdout.strip()}"
    assert done.stderr == ""
    assert took < IMPORT_SECONDS + bare_interpreter_seconds(), f"import nunatak took {took:.2f} s"


def bare_interpreter_seconds() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - start


def test_public_names_exist() -> None:
    missing = [name for name in getattr(nunatak, "__all__", []) if not hasattr(nunatak, name)]
    assert not missing, f"nunatak.__all__ promises {missing}"

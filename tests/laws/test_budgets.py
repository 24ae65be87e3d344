"""Small files, short functions, few arguments; no hidden state or randomness, no pickles, no suffixes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from _source import Module, arguments, code_lines, dotted, is_compiled, modules

FILE_LINES = 400
FUNCTION_LINES = 60
KERNEL_LINES = 110
"""A compiled loop nest shares its locals; cutting it costs speed."""
ARGUMENTS = 7

COPY_SUFFIX = re.compile(
    r"(_(old|new|bak|backup|copy|tmp|temp|legacy|orig|v\d+|\d+)|[a-z]{3,}\d)$", re.IGNORECASE
)
SEEDED = {"default_rng", "Generator", "SeedSequence", "BitGenerator", "PCG64", "RandomState"}
TORCH_DRAWS = {"rand", "randn", "randint", "randperm", "normal", "multinomial", "bernoulli", "poisson"}
TORCH_GLOBAL = {"rand_like", "randn_like", "randint_like", "manual_seed", "seed"}
CONTAINERS = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
MAKERS = {"dict", "list", "set", "defaultdict", "deque", "OrderedDict", "Counter", "bytearray"}
MUTATORS = {"append", "extend", "insert", "pop", "remove", "clear", "update", "setdefault", "add", "discard"}


def long_files(module: Module) -> Iterator[str]:
    count = len(module.path.read_text(encoding="utf-8").splitlines())
    if count > FILE_LINES:
        yield f"{module.at(module.tree)}: {count} lines, at most {FILE_LINES}"


def long_functions(module: Module) -> Iterator[str]:
    for node, _ in module.functions():
        limit = KERNEL_LINES if is_compiled(node) else FUNCTION_LINES
        if code_lines(node) > limit:
            yield f"{module.at(node)}: {node.name}: {code_lines(node)} lines, at most {limit}"


def many_arguments(module: Module) -> Iterator[str]:
    for node, is_method in module.functions():
        count = len(arguments(node, is_method))
        if count > ARGUMENTS and not is_compiled(node):
            yield f"{module.at(node)}: {node.name}: {count} arguments, at most {ARGUMENTS}: make a dataclass"


def forbidden_words(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Assert):
            yield f"{module.at(node)}: assert: raise a sentence instead"
        elif isinstance(node, ast.Global):
            yield f"{module.at(node)}: global"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            named = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            )
            for name in named:
                if name.split(".")[0] in {"pickle", "cPickle", "dill", "joblib", "random"}:
                    yield f"{module.at(node)}: import {name}"
        elif isinstance(node, ast.Call):
            yield from forbidden_call(module, node)


def forbidden_call(module: Module, node: ast.Call) -> Iterator[str]:
    name = dotted(node.func)
    keywords = {k.arg: k.value for k in node.keywords}
    if name == "print" and module.room != "cli":
        yield f"{module.at(node)}: print(: only the command line speaks"
    if name in {"torch.load", "torch.save"}:
        yield f"{module.at(node)}: {name}: use safetensors"
    allowed = keywords.get("allow_pickle")
    if isinstance(allowed, ast.Constant) and allowed.value is True:
        yield f"{module.at(node)}: allow_pickle=True"
    parts = name.split(".")
    if parts[:2] in (["np", "random"], ["numpy", "random"]):
        if parts[-1] not in SEEDED or (parts[-1] == "default_rng" and not node.args and not keywords):
            yield f"{module.at(node)}: {name}: pass a seeded numpy.random.Generator in"
    elif parts[:1] == ["torch"] and (
        parts[-1] in TORCH_GLOBAL or (parts[-1] in TORCH_DRAWS and "generator" not in keywords)
    ):
        yield f"{module.at(node)}: {name}: draw from a torch.Generator that is passed in"


def mutable_state(module: Module) -> Iterator[str]:
    """Module-level containers are allowed as CONSTANTS that the file never changes."""
    held: dict[str, ast.AST] = {}
    for node in module.tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            maker = isinstance(node.value, ast.Call) and dotted(node.value.func).split(".")[-1] in MAKERS
            if isinstance(node.value, CONTAINERS) or maker:
                held |= {dotted(target): node for target in targets}
    for name, node in held.items():
        if name != "__all__" and name != name.upper():
            yield f"{module.at(node)}: {name}: module-level mutable state (a constant is written in capitals)"
    for node in ast.walk(module.tree):
        changed = ""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            changed = dotted(node.func.value)
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            changed = dotted(node.value)
        elif isinstance(node, ast.AugAssign):
            changed = dotted(node.target)
        if changed in held and changed == changed.upper():
            yield f"{module.at(node)}: {changed}: a module-level constant is changed"


def copied_names(module: Module) -> Iterator[str]:
    stem = module.path.stem
    if COPY_SUFFIX.search(stem) and stem != "__init__":
        yield f"{module.at(module.tree)}: {stem}: replace, do not suffix"
    for node in [*module.classes(), *(function for function, _ in module.functions())]:
        if COPY_SUFFIX.search(node.name):
            yield f"{module.at(node)}: {node.name}: replace, do not suffix"


LAWS = [long_files, long_functions, many_arguments, forbidden_words, mutable_state, copied_names]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_source_obeys(law) -> None:
    wrong = [line for module in modules() for line in law(module)]
    assert not wrong, "\n".join(wrong)


CROOKED = '''
import pickle
import numpy as np
import torch

CONSTANT = {"a": 1}
cache = {}
FINE = ["x"]


def many(a, b, c, d, e, f, g, h):
    assert a
    print(b)
    CONSTANT["b"] = 2
    np.random.seed(0)
    torch.randn(3)
    torch.randn(3, generator=c)
    np.random.default_rng(4)
    return torch.load(d)


def many_old():
    """Docstrings do not count as lines.
    %s
    """


class Grid3:
    pass
''' % ("\n" * 70)


def test_the_laws_can_fail(tmp_path: Path) -> None:
    root = tmp_path / "house"
    (root / "room").mkdir(parents=True)
    (root / "room" / "shifts2.py").write_text(CROOKED)
    (root / "room" / "long.py").write_text("def long():\n" + "    x = 1\n" * 61 + "\n" * 400)
    found = {law.__name__: [line for module in modules(root) for line in law(module)] for law in LAWS}
    counts = {name: len(lines) for name, lines in found.items()}
    expected = {
        "long_files": 1,
        "long_functions": 1,
        "many_arguments": 1,
        "forbidden_words": 6,
        "mutable_state": 2,
        "copied_names": 3,
    }
    assert counts == expected, found

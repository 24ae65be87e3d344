"""The documents speak of things that exist, and every convention has its test."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from _source import REPOSITORY, SOURCE, modules

import nunatak

DOCUMENTS = [
    path
    for path in [
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / "docs").rglob("*.md"),
        *(REPOSITORY / "benchmarks").rglob("*.md"),
    ]
    if path.name != "CHANGELOG.md" and ".venv" not in path.parts
]
ROOTED = re.compile(r"^(src|tests|docs|benchmarks|examples|\.ci)/[\w./-]+$")
DOTTED = re.compile(r"^nunatak(\.\w+)+$")


def code_spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def missing_paths(document: Path) -> list[str]:
    """Files named in code spans or linked relatively that are not there."""
    text = document.read_text(encoding="utf-8")
    named = [REPOSITORY / span for span in code_spans(text) if ROOTED.match(span)]
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    named += [document.parent / link for link in links if not re.match(r"[a-z]+:", link)]
    return [str(path) for path in named if not path.exists()]


def missing_modules(document: Path) -> list[str]:
    """Dotted names in code spans that are neither a module nor a name at the top of one."""
    known = {}
    for module in modules():
        names: set[str] = set()
        for node in module.tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Assign):
                names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        known[module.name] = names
    wrong = []
    for span in code_spans(document.read_text(encoding="utf-8")):
        if DOTTED.match(span) and span not in known:
            parent, name = span.rsplit(".", 1)
            front = parent == "nunatak" and hasattr(nunatak, name)
            if not front and name not in known.get(parent, set()):
                wrong.append(span)
    return wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_what_documents_name_exists(document: Path) -> None:
    assert not missing_paths(document)
    assert not missing_modules(document)


def shell_lines() -> list[str]:
    """Commands of the README's shell blocks."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:sh|bash|console|shell)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    joined = "\n".join(blocks).replace("\\\n", " ")
    return [line.strip().removeprefix("$ ") for line in joined.splitlines() if line.strip()]


def test_readme_make_targets_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE))
    used = {word for line in shell_lines() for word in re.findall(r"(?:^|&& *)make (\w+)", line)}
    assert used <= targets


def test_readme_commands_exist() -> None:
    used = {word for line in shell_lines() for word in re.findall(r"(?:^|&& *)nunatak ([a-z][\w-]*)", line)}
    if not (SOURCE / "cli" / "main.py").exists():
        pytest.skip("the command line is not written yet")
    call = "from nunatak.cli.main import main; main()"
    shown = subprocess.run(
        [sys.executable, "-c", call, "--help"], capture_output=True, text=True, check=True
    ).stdout
    missing = sorted(command for command in used if not re.search(rf"\b{re.escape(command)}\b", shown))
    assert not missing, f"README uses commands that --help does not show: {missing}"


def test_version_is_one_and_in_the_changelog() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    declared = project.get("version", nunatak.__version__)
    assert declared == nunatak.__version__
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## .*{re.escape(declared)}", changelog, flags=re.MULTILINE), (
        f"no entry for {declared}"
    )


def test_every_convention_has_a_test() -> None:
    text = (REPOSITORY / "docs" / "conventions.md").read_text(encoding="utf-8")
    clauses = [int(number) for number in re.findall(r"^## (\d+)\. ", text, flags=re.MULTILINE)]
    assert clauses == list(range(1, len(clauses) + 1))
    source = (REPOSITORY / "tests" / "conventions" / "test_clauses.py").read_text(encoding="utf-8")
    tested = {
        int(number) for number in re.findall(r"^def test_clause_(\d\d)_\w+", source, flags=re.MULTILINE)
    }
    assert tested == set(clauses), (
        f"clauses without a test or tests without a clause: {tested ^ set(clauses)}"
    )


def test_source_cites_clauses_that_exist() -> None:
    text = (REPOSITORY / "docs" / "conventions.md").read_text(encoding="utf-8")
    last = len(re.findall(r"^## \d+\. ", text, flags=re.MULTILINE))
    wrong = []
    for module in modules():
        source = module.path.read_text(encoding="utf-8")
        for cited in re.findall(r"[Cc]onventions? ((?:\d+(?:, | and )?)+)", source):
            wrong += [
                f"{module.path.name}: convention {n}"
                for n in re.findall(r"\d+", cited)
                if not 1 <= int(n) <= last
            ]
    assert not wrong


def test_source_names_documents_that_exist() -> None:
    wrong = []
    for module in modules():
        for named in re.findall(
            r"docs/(?:decisions/\d{4}|[\w/]+\.md)", module.path.read_text(encoding="utf-8")
        ):
            if not list(REPOSITORY.glob(f"{named}*")):
                wrong.append(f"{module.path.name}: {named}")
    assert not wrong, "\n".join(wrong)

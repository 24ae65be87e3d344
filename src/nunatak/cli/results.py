"""What a command found: sentences for a person, or one JSON object for a script; progress goes to stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

JSON_FLAGS = ("--json", "--json-output")


@dataclass(frozen=True)
class Result:
    """How a command ended well.

    Attributes
    ----------
    content : dict
        The whole of what was found, for scripts: numbers, texts, lists, paths, arrays.
    sentences : sequence of str
        The same for a person.
    """

    content: dict[str, Any]
    sentences: Sequence[str] = field(default_factory=list)


def wants_json(words: Sequence[str]) -> bool:
    """Whether a command line asks for JSON."""
    return any(flag in words for flag in JSON_FLAGS)


def emit(result: Result, as_json: bool) -> None:
    """Print a result on standard output."""
    if as_json:
        from nunatak.io.atomic import json_text

        print(json_text(result.content), flush=True)
        return
    for sentence in result.sentences:
        print(sentence, flush=True)


def emit_error(sentence: str, status: int) -> None:
    """Print a failure as JSON on standard output; the sentence itself is on standard error in any case."""
    import json

    print(json.dumps({"error": sentence, "exit_status": status}))


def say(sentence: str) -> None:
    """Tell a person what is being done, on standard error."""
    print(sentence, file=sys.stderr, flush=True)

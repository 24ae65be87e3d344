"""Numpy arrays out of pickle files, without unpickling: nothing in the file is ever called.

A pickle is a program for a small stack machine. The standard library's disassembler lists its instructions;
the few that plain numpy arrays need are carried out here on our own data, and any other ends in a sentence.
No name in the file is looked up, so that a hostile file can do nothing but be refused.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from nunatak.core.errors import InputError, require

_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_BUFFER_MODULES = ("numpy.core.numeric", "numpy._core.numeric")
_RECONSTRUCT = {(module, "_reconstruct") for module in _ARRAY_MODULES}
_FROM_BUFFER = {(module, "_frombuffer") for module in _BUFFER_MODULES}
_SCALAR = {(module, "scalar") for module in _ARRAY_MODULES}
_BYTES = {("__builtin__", "bytes"), ("builtins", "bytes")}
_KNOWN = {
    *_BYTES,
    *_RECONSTRUCT,
    *_FROM_BUFFER,
    *_SCALAR,
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BINSTRING", "SHORT_BINSTRING", "STRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_EMPTY = {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NUMBERS = "fiub"
_DAMAGE = (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class _Name:
    """A dotted name that the file speaks of; never looked up."""

    module: str
    name: str


class _Mark:
    """Where a sequence on the stack begins."""


@dataclass
class _Pending:
    """An array or type whose content is still to come."""

    kind: str
    value: Any = None


def read_pickled_arrays(path: Path | str) -> list[Any]:
    """Every object of a pickle file, in order: arrays of numbers, tuples, lists and dictionaries of them.

    Raises
    ------
    InputError
        The file is missing, no pickle, or holds anything but numbers, texts and numpy arrays of numbers.
    """
    path = Path(path)
    require(path.is_file(), f"{path} does not exist: check the path.")
    stream = BytesIO(path.read_bytes())
    found = []
    try:
        while stream.read(1):
            stream.seek(-1, 1)
            found.append(_resolved(_run(stream)))
    except _RefusedError as refused:
        raise InputError(
            f"{path} holds {refused}: only numpy arrays of numbers are read from a pickle, nothing is run."
        ) from None
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        said = " ".join(str(error).split())[:120]
        raise InputError(f"{path} is no readable pickle of numpy arrays ({said}).") from error
    require(bool(found), f"{path} is empty: a pickle of numpy arrays was expected.")
    return found


class _RefusedError(Exception):
    """The file wants something that arrays do not need; what it is, in words."""


def _run(stream: BytesIO) -> Any:
    """Carry out one pickle; the object that it leaves."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for operation, argument, _ in pickletools.genops(stream):
        name = operation.name
        if name == "STOP":
            return stack.pop()
        _step(name, argument, stack, memo)
    raise ValueError("it ends early")


def _step(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    if name in ("PROTO", "FRAME"):
        return
    if name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in _LITERALS:
        stack.append(argument)
    elif name in _EMPTY:
        stack.append(_EMPTY[name]())
    elif name == "MARK":
        stack.append(_Mark())
    elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
        memo[int(argument)] = stack[-1]
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET", "GET"):
        stack.append(memo[int(argument)])
    elif name in _TUPLES:
        _gather(stack, _TUPLES[name])
    elif name == "TUPLE":
        stack.append(tuple(_since_mark(stack)))
    elif name in ("GLOBAL", "STACK_GLOBAL"):
        stack.append(_known_name(*_words(name, argument, stack)))
    elif name in ("REDUCE", "BUILD"):
        last = stack.pop()
        stack.append((_reduced if name == "REDUCE" else _built)(stack.pop(), last))
    else:
        _collect(name, stack)


def _collect(name: str, stack: list[Any]) -> None:
    """Instructions that fill lists and dictionaries."""
    if name in ("APPENDS", "SETITEMS"):
        items = _since_mark(stack)
    elif name == "APPEND":
        items = [stack.pop()]
    elif name == "SETITEM":
        value = stack.pop()
        items = [stack.pop(), value]
    elif name in ("LIST", "DICT"):
        items = _since_mark(stack)
        stack.append([] if name == "LIST" else {})
    else:
        raise _RefusedError(f"the instruction {name}")
    target = stack[-1]
    if isinstance(target, list):
        target.extend(items)
    elif isinstance(target, dict):
        target.update(zip(items[::2], items[1::2], strict=True))
    else:
        raise ValueError("items without a list")


def _words(name: str, argument: Any, stack: list[Any]) -> tuple[str, str]:
    if name == "GLOBAL":
        module, _, word = str(argument).partition(" ")
        return module, word
    word = stack.pop()
    return str(stack.pop()), str(word)


def _known_name(module: str, name: str) -> _Name:
    if (module, name) not in _KNOWN:
        raise _RefusedError(f"the name {module}.{name}"[:100])
    return _Name(module, name)


def _reduced(function: Any, arguments: Any) -> Any:
    """What numpy's own calls would make, as data."""
    if not isinstance(function, _Name) or not isinstance(arguments, tuple):
        raise _RefusedError("a call of something other than numpy's array makers")
    key = (function.module, function.name)
    if key in _RECONSTRUCT:
        return _Pending("array")
    if key == ("numpy", "dtype"):
        return _Pending("dtype", _number_type(arguments[0]))
    if key == ("_codecs", "encode"):
        # Python 2's way of writing bytes as text.
        return arguments[0].encode("latin-1")
    if key in _BYTES and not arguments:
        return b""
    if key in _SCALAR:
        return np.frombuffer(bytes(arguments[1]), _dtype(arguments[0]))[0]
    if key in _FROM_BUFFER:
        raw, kind, shape, order = arguments
        return _array(tuple(shape), _dtype(kind), bytes(raw), order == "F")
    raise _RefusedError(f"a call of {function.module}.{function.name}")


def _built(target: Any, state: Any) -> Any:
    if not isinstance(target, _Pending):
        raise _RefusedError("the state of an object that is no array")
    if target.kind == "dtype":
        order = state[1]
        target.value = target.value.newbyteorder(order if order in "<>" else "=")
        return target
    _, shape, kind, in_columns, raw = state
    if not isinstance(raw, bytes | bytearray):
        raise _RefusedError("an array of objects")
    # The target itself is kept: the memo may hold it already.
    target.value = _array(tuple(shape), _dtype(kind), bytes(raw), bool(in_columns))
    return target


def _number_type(code: Any) -> np.dtype:
    if not isinstance(code, str) or code[:1] == "O":
        raise _RefusedError("an array of objects")
    found = np.dtype(code)
    if found.kind not in _NUMBERS:
        raise _RefusedError(f"an array of {found}")
    return found


def _dtype(pending: Any) -> np.dtype:
    if not isinstance(pending, _Pending) or not isinstance(pending.value, np.dtype):
        raise ValueError("an array without a type")
    return pending.value


def _array(shape: tuple[int, ...], kind: np.dtype, raw: bytes, in_columns: bool) -> np.ndarray:
    flat = np.frombuffer(raw, kind)
    return flat.reshape(shape, order="F" if in_columns else "C").astype(kind.newbyteorder("="))


def _gather(stack: list[Any], count: int) -> None:
    items = tuple(stack[-count:])
    if len(items) < count:
        raise ValueError("it ends early")
    del stack[-count:]
    stack.append(items)


def _since_mark(stack: list[Any]) -> list[Any]:
    items: list[Any] = []
    while not isinstance(stack[-1], _Mark):
        items.append(stack.pop())
    stack.pop()
    return items[::-1]


def _resolved(value: Any, depth: int = 0) -> Any:
    """The object with its pending arrays in place."""
    if depth > 20:
        raise ValueError("it is nested too deeply")
    if isinstance(value, _Pending):
        return value.value
    if isinstance(value, tuple | list):
        return type(value)(_resolved(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return {key: _resolved(item, depth + 1) for key, item in value.items()}
    if isinstance(value, _Name | _Mark):
        raise _RefusedError("a bare name")
    return value

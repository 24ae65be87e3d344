"""Every failure a user can meet, as one sentence: what, expected, found, what to do."""

from __future__ import annotations


class NunatakError(Exception):
    """Base of all errors that carry a sentence for the user. The command line exits with status 1."""

    exit_status = 1


class InputError(NunatakError):
    """The input or the usage is at fault: nothing was computed. The command line exits with status 2."""

    exit_status = 2


class RunError(NunatakError):
    """The run itself failed after it had started; what was written before stays valid."""


def require(condition: bool, sentence: str) -> None:
    """Raise InputError with `sentence` unless `condition` holds.

    Raises
    ------
    InputError
        When the condition is false.
    """
    if not condition:
        raise InputError(sentence)

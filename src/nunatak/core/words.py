"""Quantities in words, as every report says them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """'48 s', '2 min 10 s', '3 h 05 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

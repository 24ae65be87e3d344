"""How samples are kept on the disk; apart from what reads them, so that `--help` need not load it."""

from __future__ import annotations

from typing import Literal

Precision = Literal["float32", "float16"]

"""Files of tensors: whole or not there, and read with a sentence when they are damaged."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from nunatak.core.errors import RunError
from nunatak.io.atomic import atomic_path


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write named tensors as safetensors, atomically.

    Raises
    ------
    RunError
        They cannot be written; a file that was there before stays.
    """
    try:
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata)
    except SafetensorError as error:
        raise RunError(
            f"{path} cannot be written ({error}): make room on the disk, then go on with `nunatak resume`."
        ) from error

"""Where each particle's view lies: a rotation and a shift."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Poses:
    """Orientations and in-plane shifts of n particles.

    Attributes
    ----------
    rotations : (n, 3, 3) float32
        Rows are the image axes in the volume frame (convention 2).
    shifts_A : (n, 2) float32
        (x, y) in angstrom, RELION's rlnOriginX/YAngst: the image moved by +shift is centred (convention 3).
    """

    rotations: Tensor
    shifts_A: Tensor

    def __len__(self) -> int:
        return len(self.rotations)

    def __getitem__(self, rows: Tensor | slice) -> Poses:
        return Poses(self.rotations[rows], self.shifts_A[rows])

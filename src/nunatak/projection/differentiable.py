"""Central slices of a mixture of channels as one differentiable operation, on compiled kernels if there are.

    S(k) = sum_c m_c V_c(kx R[0] + ky R[1])

Its derivatives by the block are an insertion, by the mixture an inner product, and by the rotation the
spatial gradient of the interpolated transform: none needs what automatic differentiation would store of the
eight corners of every sample. The plain torch twin is reference_mixed_slices.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nunatak.core import device as devices
from nunatak.projection import kernels, slices


def mixed_slices(
    block: Tensor, rotations: Tensor, frequencies: Tensor, mixing: Tensor, padding: int = 2
) -> Tensor:
    """(p, n) complex slices of a mixture of channels, differentiable in block, rotations and mixing.

    Parameters
    ----------
    block : (m, m, h, c) complex64
    rotations : (p, 3, 3) float32
    frequencies : (n, 2)
    mixing : (p, c) float32
    """
    return _MixedSlices.apply(block, rotations, frequencies, mixing, padding)


def reference_mixed_slices(
    block: Tensor, rotations: Tensor, frequencies: Tensor, mixing: Tensor, padding: int = 2
) -> Tensor:
    """The same in plain torch, differentiated by torch."""
    return (slices.slice_block(block, rotations, frequencies, padding) * mixing[:, None]).sum(-1)


class _MixedSlices(torch.autograd.Function):
    """Torch's gradient of a complex tensor is dL/dRe + i dL/dIm."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, block: Tensor, rotations: Tensor, frequencies: Tensor, mixing: Tensor, padding: int
    ) -> Tensor:
        implementation = kernels if devices.is_compiled(block) else slices
        values = implementation.slice_block(block, rotations, frequencies, padding)
        # The block is only needed where poses move, and large: torch keeps no copy of it.
        ctx.save_for_backward(block, rotations, frequencies, mixing, values)
        ctx.padding = padding
        return torch.einsum("pnc,pc->pn", values, mixing.to(values.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        block, rotations, frequencies, mixing, values = ctx.saved_tensors
        implementation = kernels if devices.is_compiled(block) else slices
        to_block = to_rotations = to_mixing = None
        if ctx.needs_input_grad[0]:
            spread = gradient[..., None] * mixing[:, None]
            to_block = implementation.insert_block(
                spread, rotations, frequencies, ctx.padding, tuple(block.shape[:3])
            )
        if ctx.needs_input_grad[1]:
            slope = slices.slice_with_gradient(block, rotations, frequencies, ctx.padding, mixing)[1]
            pull = (slope.conj() * gradient[..., None]).real
            rows = torch.einsum("nk,pnd->pkd", frequencies.to(pull.dtype), pull)
            to_rotations = torch.cat([rows, torch.zeros_like(rows[:, :1])], 1)
        if ctx.needs_input_grad[3]:
            to_mixing = torch.einsum("pnc,pn->pc", values.conj(), gradient).real
        return to_block, to_rotations, None, to_mixing, None

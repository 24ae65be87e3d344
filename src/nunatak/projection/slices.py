"""Central slices of padded Fourier volumes, and the adjoint: insertion. The slow reference, in plain torch.

A *block* is the half x >= 0 of a padded, centred transform, (2 r + 1, 2 r + 1, r + 1, c) complex64 in the
order (z, y, x, channel), its zero frequency at (r, r, 0). Channels are the mean map and the components of a
linear subspace, which share coordinates and interpolation weights. These functions run on any device; on the
CPU nunatak.projection.kernels does the same faster.
"""

from __future__ import annotations

import torch
from torch import Tensor


def block_shape(radius_px: int, padding: int) -> tuple[int, int, int]:
    """(z, y, x) extent of the block that trilinear slices of a radius need."""
    reach = padding * radius_px + 1
    return 2 * reach + 1, 2 * reach + 1, reach + 1


def _coordinates(rotations: Tensor, frequencies: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    """(p, n, 3) block coordinates (x, y, z), x >= 0, and (p, n) signs: -1 where the Friedel mate is read."""
    return _folded(plane_points(rotations, frequencies) * padding)


def _folded(q: Tensor) -> tuple[Tensor, Tensor]:
    sign = torch.where(q[..., 0] < 0, -1.0, 1.0).to(q.dtype)
    return q * sign[..., None], sign


def plane_points(rotations: Tensor, frequencies: Tensor) -> Tensor:
    """(p, n, 3) points (x, y, z) of the central planes kx R[0] + ky R[1], in Fourier pixels."""
    return torch.einsum("nk,pkd->pnd", frequencies.to(rotations.dtype), rotations[:, :2, :])


def _corners(q: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(8, p, n) flat indices and (2, 2, 2, p, n) trilinear weights (z, y, x) of the voxels about each point.

    All eight at once: on a GPU the number of operations given to it counts more than the memory they take.
    """
    base = q.floor()
    reach = shape[2] - 1
    x, y, z = base.long().unbind(-1)
    first = ((z + reach) * shape[1] + y + reach) * shape[2] + x
    step = torch.tensor([0, 1, shape[2], shape[2] + 1], device=q.device)
    steps = torch.cat([step, step + shape[1] * shape[2]])
    x, y, z = _sides(q - base).unbind(-1)
    return first + steps[:, None, None], z[:, None, None] * y[None, :, None] * x[None, None]


def _sides(fraction: Tensor) -> Tensor:
    """(2, p, n, 3) linear weights of the voxel below and the voxel above."""
    return torch.stack([1 - fraction, fraction])


def slice_block(block: Tensor, rotations: Tensor, frequencies: Tensor, padding: int) -> Tensor:
    """Central slices by trilinear interpolation.

    Parameters
    ----------
    block : (m, m, h, c) complex
    rotations : (p, 3, 3)
    frequencies : (n, 2)
        Image frequencies in Fourier pixels of the unpadded box.
    padding : int

    Returns
    -------
    (p, n, c) complex
    """
    return sample_block(block, plane_points(rotations, frequencies), padding)


def sample_block(block: Tensor, points: Tensor, padding: int) -> Tensor:
    """(p, n, c) complex samples of a block at (p, n, 3) points (x, y, z) in Fourier pixels."""
    q, sign = _folded(points * padding)
    index, weight = _corners(q, block.shape)
    found = block.reshape(-1, block.shape[-1])[index]
    total = (weight.flatten(0, 2)[..., None] * found).sum(0)
    return torch.where(sign[..., None] < 0, total.conj(), total)


def insert_block(
    values: Tensor, rotations: Tensor, frequencies: Tensor, padding: int, shape: tuple[int, int, int]
) -> Tensor:
    """Adjoint of slice_block: spread (p, n, c) complex or real samples over a block.

    Real samples are weights: they are even under the Friedel flip, as complex ones are conjugated.
    The x = 0 plane is left one-sided; see complete_plane.
    """
    q, sign = _coordinates(rotations, frequencies, padding)
    if values.is_complex():
        values = torch.where(sign[..., None] < 0, values.conj(), values)
    channels = values.shape[-1]
    block = values.new_zeros(shape[0] * shape[1] * shape[2], channels)
    index, weight = _corners(q, shape)
    spread = weight.flatten(0, 2)[..., None] * values
    return block.index_add_(0, index.reshape(-1), spread.reshape(-1, channels)).reshape(*shape, channels)


def complete_plane(block: Tensor) -> Tensor:
    """Add to the plane x = 0 what the Friedel mates of the samples bring there.

    A sample close to that plane has a mate on its other side which the half block does not hold. In place:
    a second block would be among the largest things in memory.
    """
    plane = block[:, :, 0]
    mate = plane.flip(0, 1)
    plane.add_(mate.conj() if block.is_complex() else mate)
    return block


def slice_with_gradient(
    block: Tensor, rotations: Tensor, frequencies: Tensor, padding: int, mixing: Tensor
) -> tuple[Tensor, Tensor]:
    """Slices of every channel, and the spatial gradient of a mixture of them.

    Parameters
    ----------
    mixing : (p, c) float
        The mixture of channels of each slice whose gradient is wanted.

    Returns
    -------
    values : (p, n, c) complex
    gradient : (p, n, 3) complex
        With respect to (x, y, z) in Fourier pixels of the unpadded box.
    """
    q, sign = _coordinates(rotations, frequencies, padding)
    index, weight = _corners(q, block.shape)
    found = block.reshape(-1, block.shape[-1])[index]
    values = (weight.flatten(0, 2)[..., None] * found).sum(0)
    mixed = (found * mixing[:, None]).sum(-1).unflatten(0, (2, 2, 2))
    x, y, z = _sides(q - q.floor()).unbind(-1)
    # Along an axis the slope is the difference between the corners above and those below.
    along_z = (y[:, None] * x[None] * (mixed[1] - mixed[0])).sum((0, 1))
    along_y = (z[:, None] * x[None] * (mixed[:, 1] - mixed[:, 0])).sum((0, 1))
    along_x = (z[:, None] * y[None] * (mixed[:, :, 1] - mixed[:, :, 0])).sum((0, 1))
    gradient = torch.stack([along_x, along_y, along_z], -1)
    mate = sign[..., None] < 0
    # The gradient of conj(F(-q)) is minus the conjugate of that of F.
    gradient = torch.where(mate, -gradient.conj(), gradient) * padding
    return torch.where(mate, values.conj(), values), gradient


def packed_products(moments: Tensor) -> Tensor:
    """(..., c (c + 1) / 2) products m_i m_j, i <= j, of (..., c): so are symmetric matrices packed."""
    row, column = torch.triu_indices(moments.shape[-1], moments.shape[-1], device=moments.device)
    return moments[..., row] * moments[..., column]


def insert_moments(
    weighted: tuple[Tensor, Tensor],
    moments: tuple[Tensor, Tensor],
    rotations: Tensor,
    frequencies: Tensor,
    padding: int,
    sums: tuple[Tensor, Tensor],
) -> None:
    """Add images times latent moments, and CTF^2 times their second moments, to the sums of a volume.

    Parameters
    ----------
    weighted : (n, m) complex64 and (n, m) float32
        Centred images times CTF, and CTF^2, both over the noise variance.
    moments : (n, c) and (n, c (c + 1) / 2) float32
        E[(a, a z)] and the packed E[(a, a z)(a, a z)^T] of each image.
    sums : (z, y, x, c) complex64 and (z, y, x, c (c + 1) / 2) float32
        What is added to, contiguous; the plane x = 0 is left one-sided, see complete_plane.
    """
    depth, height, width = sums[0].shape[:3]
    for samples, factors, block in zip(weighted, moments, sums, strict=True):
        values = samples[..., None] * factors[:, None]
        block.add_(insert_block(values, rotations, frequencies, padding, (depth, height, width)))

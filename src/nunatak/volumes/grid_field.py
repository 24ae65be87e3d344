"""A volume as a few maps mixed by a network of the latent alone: nothing is evaluated per Fourier point.

    V(z) = G_0 + sum_k c_k(z) G_k,    c(z) = (z, 0) + MLP(z)

The maps G are voxels inside a soft mask; their spectrum is shaped by an amplitude per shell, so that every
voxel has the same scale for the optimiser. With the network at zero this is the linear subspace of 3DVA; with
more maps than latents it follows curved landscapes. Slices are interpolated by compiled kernels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nunatak.core.fourier import fourier_map, real_map
from nunatak.projection.differentiable import mixed_slices
from nunatak.projection.gridding import block_by_products
from nunatak.projection.slices import plane_points, sample_block
from nunatak.volumes.field import cut_to, radial
from nunatak.volumes.field_config import FieldShape, GridConfig
from nunatak.volumes.maps import change_box, radius_grid, soft_sphere
from nunatak.volumes.networks import ResidualMLP


class GridField(nn.Module):
    """See the module; nunatak.volumes.field.VolumeField says what it offers.

    Parameters
    ----------
    amplitude : (shells,) float32
        Expected size of the transform per rounded radius, up to the field's.
    generator : torch.Generator
        On the CPU.
    """

    amplitude: Tensor
    mask: Tensor

    def __init__(
        self, shape: FieldShape, config: GridConfig, amplitude: Tensor, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.shape = shape
        self.rank = max(config.rank, shape.latent_dim) if shape.latent_dim else 0
        box = shape.box_px
        # A map of white voxels of variance 1 has a transform of variance box (convention 4).
        self.register_buffer("amplitude", amplitude / box**0.5)
        mask = soft_sphere(box, config.mask_radius_fraction * box, max(2.0, 0.04 * box), amplitude.device)
        self.register_buffer("mask", mask, persistent=False)
        self.voxels = nn.Parameter(torch.zeros(1 + self.rank, box, box, box, device=amplitude.device))
        self.mixer = (
            ResidualMLP(shape.latent_dim, config.width, config.layers, self.rank, generator)
            if self.rank
            else None
        )

    @torch.no_grad()
    def begin_with(self, maps: Tensor) -> None:
        """Take (k, d, d, d) maps as the mean and the first k - 1 components."""
        box = self.shape.box_px
        radius = radius_grid(box, self.voxels.device)
        gain = radial(self.amplitude, radius[..., None])
        transform = fourier_map(change_box(maps, box)) / gain * (radius <= self.shape.radius_px)
        self.voxels[: len(maps)] = real_map(transform) * self.mask

    def mixing(self, latents: Tensor) -> Tensor:
        """(b, 1 + rank) weights of the maps at (b, q) latents; the first is 1."""
        ones = latents.new_ones(len(latents), 1)
        if self.mixer is None:
            return ones
        direct = nn.functional.pad(latents, (0, self.rank - latents.shape[1]))
        return torch.cat([ones, direct + self.mixer(latents)], 1)

    def block(self) -> Tensor:
        """(m, m, h, 1 + rank) complex64 block of the voxels, differentiable: made once for a batch.

        The spectrum is not in it, but multiplied to its slices: they have fewer samples.
        """
        return block_by_products(self.voxels * self.mask, self.shape.radius_px)

    def at(self, points: Tensor, latents: Tensor) -> Tensor:
        """(b, n) complex64; see VolumeField. The slow reference of `slices`."""
        mixed = (sample_block(self.block(), points, 2) * self.mixing(latents)[:, None]).sum(-1)
        return mixed * radial(self.amplitude, points)

    def slices(self, rotations: Tensor, frequencies: Tensor, latents: Tensor) -> Tensor:
        """(b, n) complex64; see VolumeField."""
        mixed = mixed_slices(self.block(), rotations, frequencies, self.mixing(latents))
        return mixed * radial(self.amplitude, frequencies.to(self.amplitude.dtype))

    def reference_slices(self, rotations: Tensor, frequencies: Tensor, latents: Tensor) -> Tensor:
        """The same by `at`."""
        return self.at(plane_points(rotations, frequencies), latents)

    @torch.no_grad()
    def components(self, radius_px: int | None = None) -> Tensor:
        """(1 + rank, d, d, d) the maps that are mixed, mean and G_k, with their spectrum, cut as maps are."""
        shape, box = cut_to(self.shape, radius_px), self.shape.box_px
        radius = radius_grid(box, self.voxels.device)
        gain = radial(self.amplitude, radius[..., None]) * (radius <= shape.radius_px)
        return change_box(real_map(fourier_map(self.voxels * self.mask) * gain), shape.box_px)

    @torch.no_grad()
    def transform(self, frequencies: Tensor, latents: Tensor) -> Tensor:
        """(b, n) complex64; see VolumeField."""
        x, y, z = (frequencies + self.shape.box_px // 2).T
        values = fourier_map(self.components())[:, z, y, x]
        return self.mixing(latents).to(values.dtype) @ values

    @torch.no_grad()
    def maps(self, latents: Tensor, radius_px: int | None = None) -> Tensor:
        """(b, d, d, d) float32; see VolumeField."""
        return torch.tensordot(self.mixing(latents), self.components(radius_px), 1)

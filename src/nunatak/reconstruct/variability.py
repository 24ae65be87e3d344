"""3D variability analysis: a linear subspace about a mean that stays, poses given (Punjani & Fleet 2021).

Expectation-maximisation for probabilistic PCA with point estimates of the latents: each image's z is the
ridge regression of its residual on the projected components; then every voxel's components solve

    (sum_i c^2 z_i z_i^T + prior) W = sum_i c z_i (y_i - c P_i V_0),

low-pass filtered where the half-sets of the mean agree, masked and made orthogonal in each pass. What the
default `fixed-poses` does otherwise: the mean is solved for too, and the latents' uncertainty enters the
sums.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nunatak.core.errors import require
from nunatak.particles.dataset import Particles
from nunatak.projection.gridding import block_from_maps
from nunatak.reconstruct import parts
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.model import Model, SearchPlan, expect, half_sums, without_latents
from nunatak.reconstruct.orient import pure_noise_objective
from nunatak.reconstruct.passes import with_gauge
from nunatak.reconstruct.stages import PoseSource, Recipe, Stage
from nunatak.reconstruct.state import Context, RunState
from nunatak.search.local import LocalPrior
from nunatak.volumes.fsc import first_shell_below
from nunatak.volumes.maps import soft_sphere, working_box
from nunatak.volumes.wiener import FourierSums, relative_ridge, solve_maps

RIDGE_FRACTION = 0.1
"""Prior precision of the components over the mean weight of their shell."""


def residual_sums(sums: FourierSums, mean: Tensor) -> FourierSums:
    """Statistics of the components about a mean that is held.

    Parameters
    ----------
    sums : FourierSums
        Of 1 + q channels, the mean first.
    mean : (z, y, x) complex64
        The mean's block.
    """
    channels = sums.channels
    row, column = torch.triu_indices(channels, channels, device=mean.device)
    with_mean = (row == 0) & (column > 0)
    numerator = sums.numerator[..., 1:] - sums.denominator[..., with_mean] * mean[..., None]
    inner = (row > 0) & (column > 0)
    return FourierSums(numerator, sums.denominator[..., inner], sums.radius_px, sums.padding)


def components_about(model: Model, context: Context, mean: Tensor, radius_px: int) -> Tensor:
    """(q, b, b, b) components from point estimates of the latents; `mean` is a (1, b, b, b) map."""
    certain = replace(model, covariances=torch.zeros_like(model.covariances))
    first, second = half_sums(certain, context.cache, radius_px)
    sums = residual_sums(first + second, block_from_maps(mean, radius_px)[..., 0])
    box = mean.shape[-1]
    mask = soft_sphere(box, context.mask_fraction * box, max(2.0, 0.04 * box), mean.device)
    return solve_maps(sums, relative_ridge(sums, RIDGE_FRACTION), radius_px, box) * mask


def mean_of_all(model: Model, context: Context, radius_px: int, box_px: int) -> Tensor:
    """(1, b, b, b) mean of all particles; unfiltered: components would take up what a filter removes."""
    first, second = half_sums(without_latents(model), context.cache, radius_px)
    sums = first + second
    mask = soft_sphere(box_px, context.mask_fraction * box_px, max(2.0, 0.04 * box_px), context.device)
    return solve_maps(sums, relative_ridge(sums, RIDGE_FRACTION), radius_px, box_px) * mask


def variability_pass(state: RunState, context: Context) -> RunState:
    """One pass: components from the current latents, orthogonal; then each image's latents."""
    model = state.oriented
    if state.passes == 0:
        agree = first_shell_below(model.correlation[0], 0.143)
        radius = max(4, min(agree, model.radius_px, context.limit_px))
        box = min(working_box(radius), context.cache.plane.box_px)
        mean = mean_of_all(model, context, radius, box)
        state = replace(state, kept={**state.kept, "3dva": {"mean": mean, "radius_px": radius}})
        model = _with_random_latents(model, context)
    mean, radius = state.kept["3dva"]["mean"], state.kept["3dva"]["radius_px"]
    components = components_about(model, context, mean, radius)
    model = with_gauge(replace(model, maps=torch.cat([mean, components])[None], radius_px=radius))
    # The gauge may move the mean along the components: here it is held.
    model = replace(model, maps=torch.cat([mean[None], model.maps[:, 1:]], 1))
    stay = torch.zeros(1, 3, device=context.device)
    moved, _ = expect(model, context.cache, SearchPlan(radius, stay, 0, _HELD_POSES))
    evidence = float(moved.log_evidence.mean())
    evidence += pure_noise_objective(context, moved.noise_variance, radius)
    record = {"radius_px": radius, "log_evidence": evidence}
    return replace(state, model=moved, history=(*state.history, record))


_HELD_POSES = LocalPrior(pose=False)


def _with_random_latents(model: Model, context: Context) -> Model:
    count, latent_dim = len(model.candidates), context.config.latents
    latents = torch.randn(count, latent_dim, generator=context.generator(31)).to(context.device)
    # How far the last maps go is for the mean to say.
    agreement = model.correlation[:1]
    return replace(
        model,
        candidates=replace(model.candidates, latents=latents),
        covariances=latents.new_zeros(count, latent_dim, latent_dim),
        correlation=torch.cat([agreement, agreement.new_zeros(latent_dim, agreement.shape[1])]),
    )


def require_latents(config: EngineConfig, particles: Particles) -> None:
    """Raise InputError where there is no component to find, or more of them than particles."""
    require(config.latents >= 1, "3dva finds components of variability: give --latent-dim 1 or more.")
    require(
        config.latents < len(particles),
        f"--latent-dim {config.latents} is too many for {len(particles)} particles: give fewer.",
    )


def variability(config: EngineConfig) -> tuple[Stage, ...]:
    """The subspace about the given poses' mean."""
    return (Stage("variability", variability_pass, config.variability_passes, check=require_latents),)


RECIPES = (
    Recipe(
        "3dva",
        "linear subspace about a held mean, point estimates of z (3D variability)",
        PoseSource.GIVEN,
        (parts.given_poses, variability, parts.final_maps),
    ),
)

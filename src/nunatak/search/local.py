"""Local search: damped Gauss-Newton on pose, scale and latent together; evidence chooses among candidates.

Latents and scale enter linearly and have Gaussian priors, so within a step they are profiled out exactly;
poses of different conformations are compared by evidence, not by residual (theory eq. 8).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nunatak.geometry.rotations import rotation_from_vector
from nunatak.search.candidates import LATENT, SCALE, SHIFT, Candidates, ImageSamples, NormalEquations
from nunatak.search.normal_equations import normal_equations


@dataclass(frozen=True)
class LocalPrior:
    """Gaussian priors of a local search; a standard deviation of zero holds a parameter where it is.

    Attributes
    ----------
    shift_sd_px, scale_sd : float
    latent : bool
        False holds the latents; true gives them their standard normal prior.
    pose : bool
        False holds rotations and shifts.
    """

    shift_sd_px: float = 10.0
    scale_sd: float = 0.0
    latent: bool = True
    pose: bool = True


@dataclass(frozen=True)
class LocalFit:
    """Where a local search ended.

    Attributes
    ----------
    candidates : Candidates
    objective : (e,) float32
        1/2 |whitened residual|^2 plus the priors' penalties.
    log_evidence : (e,) float32
        -objective - 1/2 log det of the latents' posterior precision.
    covariance : (e, 6 + q, 6 + q) float32
        Inverse of the penalised normal matrix (Laplace approximation).
    power : (e, shells) float32
        Residual power per shell.
    """

    candidates: Candidates
    objective: Tensor
    log_evidence: Tensor
    covariance: Tensor
    power: Tensor


_HELD = 1e9


def _precision(prior: LocalPrior, latent_dim: int, device: torch.device) -> Tensor:
    """(6 + q,) prior precisions."""
    precision = torch.zeros(6 + latent_dim, device=device)
    precision[SHIFT] = 1 / prior.shift_sd_px**2
    precision[SCALE] = 1 / prior.scale_sd**2 if prior.scale_sd > 0 else _HELD
    precision[LATENT] = 1.0 if prior.latent else _HELD
    if not prior.pose:
        precision[:5] = _HELD
    return precision


def _deviations(candidates: Candidates) -> Tensor:
    """(e, 6 + q) distance of each parameter from its prior mean; zero for rotations."""
    zero = torch.zeros(len(candidates), 3, device=candidates.scales.device)
    return torch.cat([zero, candidates.shifts_px, candidates.scales[:, None] - 1, candidates.latents], 1)


def _moved(candidates: Candidates, step: Tensor) -> Candidates:
    """Candidates after a step in (rotation vector, shift, scale, latents)."""
    turned = rotation_from_vector(step[:, :3].double()) @ candidates.rotations.double()
    return Candidates(
        turned.float(),
        candidates.shifts_px + step[:, SHIFT],
        (candidates.scales + step[:, SCALE]).clamp(0.1, 10.0),
        candidates.latents + step[:, LATENT],
        candidates.rows,
    )


class LocalSearch:
    """Local fits of images to one model.

    Parameters
    ----------
    block : (m, m, h, 1 + q) complex64
        Mean map and components.
    images : ImageSamples
        Cut to the radius of the search.
    noise_weights : (shells,) float32
        2 / sigma^2.
    prior : LocalPrior
    """

    def __init__(
        self, block: Tensor, images: ImageSamples, noise_weights: Tensor, prior: LocalPrior, padding: int = 2
    ) -> None:
        self._block, self._images, self._weights, self._padding = block, images, noise_weights, padding
        self._latent_dim = block.shape[-1] - 1
        self._precision = _precision(prior, self._latent_dim, block.device)
        # A held parameter must not pull either: its distance from the prior mean is not penalised.
        self._penalty = torch.where(self._precision >= _HELD, 0.0, self._precision)

    def _equations(self, candidates: Candidates) -> tuple[NormalEquations, Tensor]:
        equations = normal_equations(self._block, self._padding, candidates, self._images, self._weights)
        deviation = _deviations(candidates)
        objective = 0.5 * (equations.power @ self._weights[: equations.power.shape[1]])
        return equations, objective + 0.5 * (deviation**2) @ self._penalty

    def _solve(self, equations: NormalEquations, candidates: Candidates, damping: Tensor) -> Tensor:
        """(e, 6 + q) damped Gauss-Newton steps."""
        matrix = equations.hessian + torch.diag(self._precision)
        diagonal = matrix.diagonal(dim1=1, dim2=2)
        matrix = matrix + torch.diag_embed(damping[:, None] * diagonal + 1e-6)
        pull = equations.gradient - self._penalty * _deviations(candidates)
        step = torch.linalg.solve(matrix, pull)
        # Beyond a rotation of 10 degrees or a shift of 2 px the tangents describe nothing.
        angle, shift = step[:, :3].norm(dim=1), step[:, SHIFT].norm(dim=1)
        limit = torch.clamp(torch.minimum(math.radians(10) / (angle + 1e-9), 2.0 / (shift + 1e-9)), max=1.0)
        step[:, :5] *= limit[:, None]
        return torch.nan_to_num(step)

    def _fit(self, candidates: Candidates, equations: NormalEquations, objective: Tensor) -> LocalFit:
        matrix = equations.hessian + torch.diag(self._precision)
        latent = matrix[:, LATENT, LATENT]
        log_determinant = torch.linalg.slogdet(latent)[1] if self._latent_dim else torch.zeros_like(objective)
        eye = torch.eye(matrix.shape[-1], device=matrix.device) * 1e-6
        covariance = torch.linalg.inv(matrix + eye)
        return LocalFit(
            candidates, objective, -objective - 0.5 * log_determinant, covariance, equations.power
        )

    def evaluate(self, candidates: Candidates) -> LocalFit:
        """The fit of candidates as they are."""
        return self._fit(candidates, *self._equations(candidates))

    def information(self, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """(e, q, q) information about the latents and (e, q) pull on them, pose and scale integrated out.

        log p(image | z + d) = -d' I d / 2 + pull' d + constant, without the latents' prior (theory eq. 21).
        """
        equations, _ = self._equations(candidates)
        own = slice(0, 6)
        precision, deviation = self._precision[own], _deviations(candidates)[:, own]
        pull = equations.gradient[:, own] - self._penalty[own] * deviation
        nuisance = equations.hessian[:, own, own] + torch.diag(precision + 1e-6)
        both = torch.cat([equations.hessian[:, own, LATENT], pull[..., None]], -1)
        solved = torch.linalg.solve(nuisance, both)
        across = equations.hessian[:, LATENT, own]
        information = equations.hessian[:, LATENT, LATENT] - across @ solved[..., :-1]
        return information, equations.gradient[:, LATENT] - (across @ solved[..., -1:])[..., 0]

    def profile(self, candidates: Candidates) -> LocalFit:
        """Evidence of candidate poses with scale and latents at their conditional optimum; poses stay.

        Exact for the latents, whose equations are linear: one solve, no second evaluation.
        """
        equations, objective = self._equations(candidates)
        matrix = (equations.hessian + torch.diag(self._precision))[:, 5:, 5:]
        pull = (equations.gradient - self._penalty * _deviations(candidates))[:, 5:]
        best = torch.linalg.solve(matrix, pull)
        step = torch.cat([torch.zeros_like(equations.gradient[:, :5]), best], 1)
        gain = 0.5 * (pull * best).sum(1)
        return self._fit(_moved(candidates, step), equations, objective - gain)

    def refine(self, candidates: Candidates, iterations: int) -> LocalFit:
        """Levenberg-Marquardt from each candidate; never worse than the start.

        Parameters
        ----------
        iterations : int
            Evaluations of the normal equations after the first.
        """
        equations, objective = self._equations(candidates)
        damping = torch.full_like(objective, 1e-3)
        for _ in range(iterations):
            trial = _moved(candidates, self._solve(equations, candidates, damping))
            trial_equations, trial_objective = self._equations(trial)
            better = trial_objective < objective
            candidates = candidates.where(better, trial)
            objective = torch.where(better, trial_objective, objective)
            equations = NormalEquations(
                torch.where(better[:, None, None], trial_equations.hessian, equations.hessian),
                torch.where(better[:, None], trial_equations.gradient, equations.gradient),
                torch.where(better[:, None], trial_equations.power, equations.power),
            )
            damping = torch.where(better, damping * 0.2, damping * 10).clamp(1e-6, 1e6)
        return self._fit(candidates, equations, objective)


def neighbours(candidates: Candidates, turns: Tensor) -> Candidates:
    """Every candidate turned by each of (k, 3) rotation vectors: e * k, a candidate's turns together."""
    count = len(turns)
    matrices = rotation_from_vector(turns.double()).float().to(candidates.rotations.device)
    repeat = candidates[torch.arange(len(candidates), device=candidates.rows.device).repeat_interleave(count)]
    turned = (matrices[None] @ candidates.rotations[:, None]).flatten(0, 1)
    return Candidates(turned, repeat.shifts_px, repeat.scales, repeat.latents, repeat.rows)


def best_of(fit: LocalFit, count: int) -> Tensor:
    """(e / count,) index of the candidate of highest evidence within each run of `count`."""
    grouped = fit.log_evidence.view(-1, count)
    return grouped.argmax(1) + torch.arange(len(grouped), device=grouped.device) * count

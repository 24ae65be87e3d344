"""Trained volume and encoder as plain tensors between passes, and as modules within one.

What a checkpoint keeps is dictionaries of parameters and of the optimiser's moments, in RunState.kept under
"trained". Modules are made anew for each pass from the configuration and filled, so nothing else holds state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nunatak.core.device import CPU, multiplies_bfloat16
from nunatak.latent.encoder import Encoder
from nunatak.latent.encoder_config import EncoderConfig
from nunatak.latent.placing import Placing, placing
from nunatak.reconstruct.config import EngineConfig
from nunatak.reconstruct.neural_views import expected_amplitude, signal_power
from nunatak.reconstruct.state import Context, RunState
from nunatak.search.pose_encoder import PoseEncoder
from nunatak.search.pose_encoder_config import PoseEncoderConfig
from nunatak.volumes.field_config import CoordinateConfig, FieldShape, GridConfig
from nunatak.volumes.making import FieldPlan, TrainableField, field_with, new_field, plan_from_text
from nunatak.volumes.maps import working_box

BETAS = (0.9, 0.99)
# Times a network's, for batches of a grid's usual size: its voxels are of unit size.
VOXEL_RATE = 100.0
BATCHES = {"network": 32, "grid": 128}
LEAST_STEPS, LEAST_BATCH = 16, 16
LAST_RATE = 0.01
WARM_UP = 1 / 3
MARCH = 0.5
_FIELD, _ENCODER = 31, 32


class Networks(nn.Module):
    """A volume, and an encoder where the recipe has one."""

    decoder: TrainableField
    encoder: Encoder | PoseEncoder | None

    def __init__(self, decoder: TrainableField, encoder: Encoder | PoseEncoder | None) -> None:
        super().__init__()
        self.decoder, self.encoder = decoder, encoder

    @property
    def reading(self) -> Encoder:
        """The encoder of latents, for passes of recipes that have one.

        Raises
        ------
        TypeError
            There is none.
        """
        if not isinstance(self.encoder, Encoder):
            raise TypeError("this pass needs an encoder of latents, and its recipe has made none")
        return self.encoder

    @property
    def posing(self) -> PoseEncoder:
        """The encoder of poses, for passes of recipes that have one.

        Raises
        ------
        TypeError
            There is none.
        """
        if not isinstance(self.encoder, PoseEncoder):
            raise TypeError("this pass needs an encoder of poses, and its recipe has made none")
        return self.encoder


@dataclass(frozen=True)
class Training:
    """Modules and what their losses need, for the length of a pass.

    Attributes
    ----------
    networks : Networks
    optimiser : torch.optim.Adam
    noise_variance : (shells,) float32
    signal : (m,) float32
        Expected |slice|^2 at the half-plane's samples.
    radius_px : int
    placing : Placing or None
        How images are placed for the encoder, where it sees them so.
    """

    networks: Networks
    optimiser: torch.optim.Adam
    noise_variance: Tensor
    signal: Tensor
    radius_px: int
    placing: Placing | None = None


def field_plan(context: Context, on_mean: bool = False) -> FieldPlan:
    """The volume that a configuration asks for; a network may be added to a mean that is known."""
    config, radius = context.config, context.limit_px
    box = min(working_box(radius), context.cache.plane.box_px)
    shape = FieldShape(box, min(radius, (box - 1) // 2), config.latents)
    network = CoordinateConfig(
        width=config.decoder_width,
        layers=config.decoder_layers,
        on_mean=on_mean,
        bfloat16=multiplies_bfloat16(context.device),
    )
    grid = GridConfig(rank=config.decoder_rank, mask_radius_fraction=context.mask_fraction)
    return FieldPlan(config.decoder, shape, network, grid)


def batch_size(context: Context, networks: Networks) -> int:
    """Images per step: a grid is transformed once a step, a network costs the same for every image.

    With an encoder, of few images as many as leave LEAST_STEPS in an epoch: it learns by steps, where a table
    gets one step for each image in any case.
    """
    usual = BATCHES[context.config.decoder]
    if networks.encoder is not None:
        usual = min(usual, max(LEAST_BATCH, len(context.cache) // LEAST_STEPS))
    return context.config.batch or usual


def divergence_weight(config: EngineConfig, progress: float = 1.0) -> float:
    """Beta: one over the number of latents where it is not given, as in cryoDRGN.

    It grows to that from zero over the first third of the training: from the start it keeps an encoder, whose
    volume does not yet depend on what it says, from saying anything (Bowman et al. 2016).
    """
    beta = config.beta if config.beta is not None else 1 / max(config.latents, 1)
    return beta * min(1.0, progress / WARM_UP)


def marching_radius(config: EngineConfig, radius_px: int, progress: float) -> int:
    """Fourier radius at a progress from 0 to 1 of finding poses: from l_start to l_end over the first part.

    A volume that is trained on few images to their full radius learns their noise at the first poses that
    they happen to have, by which they then recognise these poses: they never move again.
    """
    end = min(config.l_end, radius_px)
    start = min(config.l_start, end)
    return round(start + (end - start) * min(1.0, progress / MARCH))


def learning_rate(rate: float, progress: float) -> float:
    """A rate along a cosine, from itself to LAST_RATE of it, at a progress from 0 to 1."""
    return rate * (LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(max(progress, 0), 1))))


def started(
    context: Context,
    noise_variance: Tensor,
    with_encoder: bool | Literal["poses"],
    mean: Tensor | None = None,
) -> dict[str, Any]:
    """Untrained networks, as kept.

    Parameters
    ----------
    with_encoder : bool or "poses"
        An encoder of latents, none, or one of poses and latents.
    mean : (d, d, d), optional
        Where poses are known. A grid begins with this map, and a network is added to it; an encoder may see
        residuals from it, placed in its frame.
    """
    plan = field_plan(context, mean is not None)
    signal = signal_power(context.cache, noise_variance, context.image_power)
    amplitude = expected_amplitude(signal, noise_variance)[: plan.shape.radius_px + 1]
    field = new_field(plan, amplitude, context.generator(_FIELD))
    if mean is not None:
        field.begin_with(mean[None])
    encoder: Encoder | PoseEncoder | None = None
    placed: dict[str, Tensor] = {}
    if with_encoder == "poses":
        encoder = _new_pose_encoder(context)
    elif with_encoder:
        inputs = 2 * context.cache.plane.count_within(plan.shape.radius_px)
        if mean is not None and context.config.encoder == "placed":
            placed = {"mean": mean}
            inputs = placing(mean, plan.shape.radius_px, context.mask_fraction).features
        encoder = _new_encoder(context, inputs)
    parameters = _detached(Networks(field, encoder).state_dict())
    return {
        **placed,
        "encodes": with_encoder if isinstance(with_encoder, str) else "latents",
        "plan": plan.text(),
        "parameters": parameters,
        "moments": {},
        "noise_variance": noise_variance,
        "signal": signal,
    }


def _new_encoder(context: Context, inputs: int) -> Encoder:
    config = context.config
    sizes = EncoderConfig(config.encoder_width, config.encoder_layers)
    made = Encoder(inputs, config.latents, sizes, context.generator(_ENCODER))
    return made.to(context.device)


def pose_encoder_sizes(context: Context) -> PoseEncoderConfig:
    """Sizes that a configuration asks for, of an encoder that sees no further than images go."""
    config = context.config
    radius = min(config.encoder_radius_px, field_plan(context).shape.radius_px)
    # Each level halves the image: of a small one there are only so many.
    room = int(math.log2(2 * radius + 1)) - 1
    return PoseEncoderConfig(
        channels=config.encoder_channels,
        levels=min(config.encoder_levels, room),
        width=config.encoder_width,
        layers=config.encoder_layers,
        radius_px=radius,
    )


def _new_pose_encoder(context: Context) -> PoseEncoder:
    config, box_px = context.config, context.cache.plane.box_px
    made = PoseEncoder(pose_encoder_sizes(context), config.latents, box_px, context.generator(_ENCODER))
    return made.to(context.device)


def _detached(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def resumed(state: RunState, context: Context) -> Training:
    """Modules and optimiser as the last pass left them."""
    kept = state.kept["trained"]
    plan = plan_from_text(kept["plan"])
    parameters: dict[str, Tensor] = kept["parameters"]
    mine = {n.removeprefix("decoder."): t for n, t in parameters.items() if n.startswith("decoder.")}
    theirs = {n.removeprefix("encoder."): t for n, t in parameters.items() if n.startswith("encoder.")}
    encoder: Encoder | PoseEncoder | None = None
    if kept.get("encodes") == "poses":
        encoder = _new_pose_encoder(context)
    elif theirs:
        encoder = _new_encoder(context, theirs["network.first.weight"].shape[1])
    if encoder is not None:
        encoder.load_state_dict(theirs)
    networks = Networks(field_with(plan, mine), encoder)
    optimiser = _optimiser(networks, context)
    _load_moments(optimiser, networks, kept["moments"])
    radius = plan.shape.radius_px
    shells = context.cache.plane.shells[: context.cache.plane.count_within(radius)]
    where = placing(kept["mean"], radius, context.mask_fraction) if "mean" in kept else None
    return Training(networks, optimiser, kept["noise_variance"], kept["signal"][shells], radius, where)


def _optimiser(networks: Networks, context: Context) -> torch.optim.Adam:
    named = dict(networks.named_parameters())
    voxels = [p for name, p in named.items() if name == "decoder.voxels"]
    others = [p for name, p in named.items() if name != "decoder.voxels"]
    # Steps of smaller batches are noisier, and there are more of them.
    share = min(1.0, batch_size(context, networks) / BATCHES["grid"])
    groups = [(others, 1.0), (voxels, VOXEL_RATE * share)]
    made = [{"params": members, "factor": factor} for members, factor in groups if members]
    return torch.optim.Adam(made, lr=context.config.learning_rate, betas=BETAS)


def _load_moments(optimiser: torch.optim.Adam, networks: Networks, moments: dict[str, Tensor]) -> None:
    for name, parameter in networks.named_parameters():
        for part in ("step", "exp_avg", "exp_avg_sq"):
            if f"{name}.{part}" in moments:
                kept = moments[f"{name}.{part}"].clone()
                # The count of steps stays on the CPU, where the optimiser keeps it.
                on_host = part == "step"
                optimiser.state[parameter][part] = torch.tensor(float(kept), device=CPU) if on_host else kept


def kept_after(state: RunState, training: Training, **changed: Any) -> dict[str, Any]:
    """RunState.kept with what a pass has made of the networks, and other changes to "trained"."""
    moments = {
        f"{name}.{part}": value.detach().clone()
        for name, parameter in training.networks.named_parameters()
        for part, value in training.optimiser.state.get(parameter, {}).items()
    }
    parameters = _detached(training.networks.state_dict())
    trained = {**state.kept["trained"], "parameters": parameters, "moments": moments, **changed}
    return {**state.kept, "trained": trained}


def descend(training: Training, loss: Tensor, rate: float) -> None:
    """One step of the networks down a loss, at a learning rate."""
    training.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    for group in training.optimiser.param_groups:
        group["lr"] = rate * group["factor"]
    training.optimiser.step()

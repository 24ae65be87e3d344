"""Small multilayer perceptrons whose weights are drawn from a generator that is passed in."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def drawn_linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """An affine layer with torch's default initialisation, U(-1/sqrt(inputs), 1/sqrt(inputs))."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    bound = 1 / math.sqrt(max(inputs, 1))
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


class ResidualMLP(nn.Module):
    """Linear, ReLU; then `layers` times x -> ReLU(W x + b + x); then linear (Zhong et al. 2021).

    Parameters
    ----------
    inputs, width, layers, outputs : int
    generator : torch.Generator
        On the CPU.
    """

    def __init__(
        self, inputs: int, width: int, layers: int, outputs: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.first = drawn_linear(inputs, width, generator)
        self.hidden = nn.ModuleList(drawn_linear(width, width, generator) for _ in range(layers))
        self.last = drawn_linear(width, outputs, generator)

    def forward(self, features: Tensor) -> Tensor:
        """(..., outputs) from (..., inputs)."""
        return self.after_first(self.first(features))

    def after_first(self, hidden: Tensor) -> Tensor:
        """The rest of the network, for a first layer that was evaluated in another way."""
        hidden = torch.relu(hidden)
        for layer in self.hidden:
            hidden = torch.relu(layer(hidden) + hidden)
        return self.last(hidden)

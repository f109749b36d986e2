"""Output layer of a density network, from features to map: a 1x1 convolution and an activation."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cellbench.errors import PartError
from cellbench.models.parts import FeatureShape

Activation = Literal["none", "relu", "softplus", "abs"]


class DensityReadout(nn.Module):
    """Output layer from features to a density map.

    Before training the map is about `prior` everywhere, give or take a tenth: a network that
    starts at zero behind a ReLU may stay there, since most of a target is nearly zero.

    Attributes:
        stride: input px per cell of the map.
        scale: raw output of the layer for one cell.
    """

    def __init__(
        self,
        in_shape: FeatureShape,
        *,
        activation: Activation = "none",
        scale: float = 100.0,
        prior: float = 2e-3,
        ends_in_map: bool = False,
        unit: float = 1.0,
    ) -> None:
        """Build the convolution, unless the features are already the map.

        Args:
            in_shape: of the features.
            activation: "none" may give negative densities; "abs" never dies, as "relu" may, and
                reaches zero, as "softplus" does not.
            scale: factor of the map in training, as in the papers.
            prior: cells per square px of the network input, before training.
            ends_in_map: the features are one channel, the map before its activation.
            unit: sum of the target for one cell.

        Raises:
            PartError: a scale or prior that is not positive, or a map of several channels.
        """
        super().__init__()
        if not scale > 0 or not prior > 0:
            raise PartError(f"scale and prior are more than 0, not {scale} and {prior}.")
        if ends_in_map and in_shape.channels != 1:
            raise PartError(f"a density map has one channel, not {in_shape.channels}.")
        self.stride = in_shape.stride
        self.scale = scale * unit
        self.activation = activation
        self.conv: nn.Conv2d | None = None
        if not ends_in_map:
            level = prior * in_shape.stride**2 * self.scale
            self.conv = nn.Conv2d(in_shape.channels, 1, 1)
            assert self.conv.bias is not None  # for the type checker: nn.Conv2d has one
            nn.init.normal_(self.conv.weight, std=0.1 * level / math.sqrt(in_shape.channels))
            bias = _inverse_softplus(level) if activation == "softplus" else level
            nn.init.constant_(self.conv.bias, bias)

    def forward(self, features: Tensor) -> Tensor:
        """Compute the map (B, 1, h, w) float32, in cells, from features (B, C, h, w)."""
        raw = features if self.conv is None else self.conv(features)
        raw = raw.float()
        if self.activation == "relu":
            raw = F.relu(raw)
        elif self.activation == "softplus":
            raw = F.softplus(raw)
        elif self.activation == "abs":
            raw = torch.abs(raw)
        return raw / self.scale


def _inverse_softplus(value: float) -> float:
    return value + math.log(-math.expm1(-value))

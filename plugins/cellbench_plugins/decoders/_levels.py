"""What top-down decoders share."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from cellbench.errors import PartError
from cellbench.models.parts import FeatureShape


def pick_levels(decoder: str, in_shapes: Sequence[FeatureShape], stride: int) -> list[int]:
    """The levels that a decoder walks through: coarsest first, down to the one of a stride.

    Raises:
        PartError: no level has the stride.
    """
    strides = [shape.stride for shape in in_shapes]
    if stride not in strides:
        raise PartError(
            f"stride: {decoder} can put out the strides of its backbone, {strides}, not {stride}; "
            "add it to the strides of the backbone or change that of the decoder."
        )
    used = [index for index, own in enumerate(strides) if own >= stride]
    return sorted(used, key=lambda index: -strides[index])


def laterals(shapes: Sequence[FeatureShape], channels: int) -> nn.ModuleList:
    """1x1 convolutions that bring every level to the same channels and keep its variance."""
    return nn.ModuleList(
        started(nn.Conv2d(shape.channels, channels, 1), gain=1.0) for shape in shapes
    )


def started(conv: nn.Conv2d, *, gain: float) -> nn.Conv2d:
    """Draw the weights so that the output has `gain` times the input's deviation; no bias."""
    fan_in = conv.weight[0].numel()
    nn.init.normal_(conv.weight, std=gain / math.sqrt(fan_in))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def upsample(coarse: Tensor, ratio: int, like: Tensor) -> Tensor:
    """Repeat every cell `ratio` times along both axes, cut to the height and width of `like`."""
    height, width = like.shape[-2:]
    large = F.interpolate(coarse, scale_factor=ratio, mode="nearest")
    return large[..., :height, :width]

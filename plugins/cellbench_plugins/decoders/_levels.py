"""Base class and helpers of top-down decoders."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from cellbench.errors import PartError
from cellbench.models.parts import Decoder, FeatureShape


class TopDown(Decoder):
    """Base of decoders that fuse a backbone's maps from the coarsest to one of a given stride.

    Attributes:
        levels: indices of the maps that are used, coarsest first.
        laterals: a 1x1 convolution per map, to the decoder's number of channels.
        ratios: ratio of the strides of each map and the next finer one.
    """

    def __init__(self, in_shapes: Sequence[FeatureShape], *, channels: int, stride: int) -> None:
        """Select the maps and build their laterals.

        Args:
            in_shapes: shapes of the backbone's maps, finest first.
            channels: number of channels after the laterals.
            stride: stride of the output map, px; one of the backbone's.

        Raises:
            PartError: the backbone has no map of this stride.
        """
        super().__init__()
        strides = [shape.stride for shape in in_shapes]
        if stride not in strides:
            raise PartError(
                f"stride: {type(self).__name__} can put out the strides of its backbone, "
                f"{strides}, not {stride}; add it to the strides of the backbone or change that "
                "of the decoder."
            )
        used = [index for index, own in enumerate(strides) if own >= stride]
        self.levels = sorted(used, key=lambda index: -strides[index])
        self.laterals = nn.ModuleList(  # initialised to keep the variance of their maps
            init_conv_(nn.Conv2d(in_shapes[level].channels, channels, 1), gain=1.0)
            for level in self.levels
        )
        walked = [strides[level] for level in self.levels]
        self.ratios = [coarse // fine for coarse, fine in pairwise(walked)]
        self.shape = FeatureShape(channels, stride)

    def maps(self, features: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Apply the laterals; return the coarsest map and the finer ones, coarsest first."""
        coarsest, *finer = (
            lateral(features[level])
            for lateral, level in zip(self.laterals, self.levels, strict=True)
        )
        return coarsest, finer


def init_conv_(conv: nn.Conv2d, *, gain: float) -> nn.Conv2d:
    """Draw the weights so that the output has `gain` times the input's deviation; zero the bias."""
    fan_in = conv.weight[0].numel()
    nn.init.normal_(conv.weight, std=gain / math.sqrt(fan_in))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def upsample(coarse: Tensor, ratio: int, like: Tensor) -> Tensor:
    """Repeat every cell `ratio` times along both axes, and crop to the size of `like`."""
    height, width = like.shape[-2:]
    large = F.interpolate(coarse, scale_factor=ratio, mode="nearest")
    return large[..., :height, :width]

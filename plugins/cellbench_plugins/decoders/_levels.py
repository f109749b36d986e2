"""What top-down decoders share."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from cellbench.errors import PartError
from cellbench.models.parts import Decoder, FeatureShape


class TopDown(Decoder):
    """A decoder that goes from the coarsest map of a backbone down to the one of a stride.

    Attributes:
        levels: indices of the maps that are used, coarsest first.
        laterals: a 1x1 convolution for each, which brings it to the decoder's channels.
        ratios: how many times finer each map is than the one before it.
    """

    def __init__(self, in_shapes: Sequence[FeatureShape], *, channels: int, stride: int) -> None:
        """Find the maps and make their laterals.

        Args:
            in_shapes: of the backbone's maps, finest first.
            channels: of all maps behind the laterals.
            stride: of the map that goes out, px; one of the backbone's.

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
        self.laterals = nn.ModuleList(  # which keep the variance of their maps
            started(nn.Conv2d(in_shapes[level].channels, channels, 1), gain=1.0)
            for level in self.levels
        )
        walked = [strides[level] for level in self.levels]
        self.ratios = [coarse // fine for coarse, fine in pairwise(walked)]
        self.shape = FeatureShape(channels, stride)

    def maps(self, features: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The coarsest map and the finer ones, coarsest first, behind their laterals."""
        coarsest, *finer = (
            lateral(features[level])
            for lateral, level in zip(self.laterals, self.levels, strict=True)
        )
        return coarsest, finer


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

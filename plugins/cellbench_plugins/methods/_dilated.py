"""Dilated back-end of CSRNet and SFCN, and helpers of other decoders."""

from collections.abc import Sequence

from torch import nn

from cellbench.errors import PartError
from cellbench.models.parts import FeatureShape

# Channels of the six convolutions, as published; the last are those of the output.
WIDTHS = (512, 512, 512, 256, 128, 64)


def back_end(
    in_channels: int, widths: Sequence[int] = WIDTHS, *, dilation: int = 2, std: float | None = None
) -> nn.Sequential:
    """Build dilated 3x3 convolutions, each followed by a ReLU; they keep height and width.

    Args:
        in_channels: number of input channels.
        widths: channels after each convolution.
        dilation: distance of a kernel's taps in cells of the map.
        std: standard deviation of the initial weights; None for He initialisation.
    """
    layers: list[nn.Module] = []
    for width in widths:
        layers += [
            init_conv_(nn.Conv2d(in_channels, width, 3, padding=dilation, dilation=dilation), std),
            nn.ReLU(inplace=True),
        ]
        in_channels = width
    return nn.Sequential(*layers)


def init_conv_(convolution: nn.Conv2d, std: float | None) -> nn.Conv2d:
    """Draw the weights with deviation `std`, or by He initialisation if None; zero the bias."""
    if std is None:
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    else:
        nn.init.normal_(convolution.weight, std=std)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution


def index_of_stride(part: str, in_shapes: Sequence[FeatureShape], stride: int | None) -> int:
    """Return the index of the backbone's map of a stride; of its coarsest for None.

    Raises:
        PartError: no map has the stride.
    """
    strides = [shape.stride for shape in in_shapes]
    if stride is None:
        return len(strides) - 1
    if stride not in strides:
        raise PartError(
            f"stride: {part} reads one map of its backbone, which has the strides {strides}, "
            f"not {stride}; add it there or change it here."
        )
    return strides.index(stride)

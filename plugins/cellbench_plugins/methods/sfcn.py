"""SFCN: dilated back-end with message passing along rows and columns."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellbench.errors import PartError
from cellbench.models.density_counter import DensityCounter
from cellbench.models.parts import ConvFactory, Decoder, FeatureShape
from cellbench.registry import COUNTERS, DECODERS
from cellbench_plugins.methods._dilated import WIDTHS, back_end, index_of_stride


class MessagePassing(nn.Module):
    """Message passing between rows: x_r := x_r + ReLU(conv(x_(r-1))), down and then up.

    Rows depend on each other and are processed one by one, each with a single convolution over the
    row, its channels and all images. Both directions share their weights.
    """

    def __init__(self, channels: int, *, reach: int = 9, std: float = 0.01) -> None:
        """Build the convolution.

        Args:
            channels: number of channels of input and output.
            reach: odd width of the kernel along the row, in cells.
            std: standard deviation of the initial weights.
        """
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, reach, padding=reach // 2)
        nn.init.normal_(self.conv.weight, std=std)
        assert self.conv.bias is not None  # for the type checker: nn.Conv1d has one
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Pass messages down and up the rows of (B, C, H, W)."""
        rows = list(x.unbind(dim=2))  # H times (B, C, W)
        for order in (range(1, len(rows)), range(len(rows) - 2, -1, -1)):
            step = 1 if order.step > 0 else -1
            for row in order:
                rows[row] = rows[row] + F.relu(self.conv(rows[row - step]))
        return torch.stack(rows, dim=2)


@DECODERS.register_module()
class SpatialEncoder(Decoder):
    """Spatial encoder of SFCN: dilated back-end, then message passing in four directions.

    Source: SFCN, Wang et al., arXiv:1903.03303, section 4.2; the message passing is that of
        SCNN, arXiv:1712.06080.

    Differs: the back-end's weights are drawn as He et al. do unless `std` is given, and the
        features are multiplied by `gain` first: those of VGG-16 without batch-norm are of the
        order of 100.
    """

    def __init__(
        self,
        in_shapes: Sequence[FeatureShape],
        conv: ConvFactory,
        *,
        stride: int | None = None,
        channels: int = WIDTHS[-1],
        reach: int = 9,
        gain: float = 1.0,
        std: float | None = None,
    ) -> None:
        """Build the layers.

        Args:
            in_shapes: shapes of the backbone's maps, finest first.
            conv: the registered convolution; not used.
            stride: stride of the input map, px; None for the coarsest.
            channels: number of output channels.
            reach: odd width of the messages' kernels, in cells of the map.
            gain: factor on the backbone's features.
            std: standard deviation of the back-end's initial weights, 0.01 as published; None for
                He initialisation.

        Raises:
            PartError: the backbone has no map of this stride, or the reach is even.
        """
        super().__init__()
        if reach < 1 or reach % 2 == 0:
            raise PartError(f"reach: SpatialEncoder wants an odd number of cells, not {reach}.")
        self.level = index_of_stride("SpatialEncoder", in_shapes, stride)
        self.gain = gain
        inputs = in_shapes[self.level]
        self.layers = back_end(inputs.channels, (*WIDTHS[:-1], channels), std=std)
        self.rows = MessagePassing(channels, reach=reach)
        self.columns = MessagePassing(channels, reach=reach)
        self.shape = FeatureShape(channels, inputs.stride)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Map the chosen features to (B, channels, H/s, W/s)."""
        x = self.rows(self.layers(self.gain * features[self.level]))
        out: Tensor = self.columns(x.transpose(2, 3)).transpose(2, 3)
        return out


@COUNTERS.register_module()
class SFCN(DensityCounter):
    """SFCN: density map of stride 8 with message passing over the whole image.

    The backbone is VGG-16 by default; `configs/methods/sfcn_resnet101.py` has the ResNet-101 of the
    released code.

    Source: Wang et al., "Learning from Synthetic Data for Crowd Counting in the Wild",
        arXiv:1903.03303. Published for cells, by DLA-Count's Table 2: MAE ADI 16.0, MBM 2.4, VGG
        13.8, DCC 2.7.

    Differs: the released code repeats each value of the map 8 x 8 times and compares it with a
        target of stride 1, which has the gradient of comparing the map with the sums of the
        target over 8 x 8 px; here the latter is done. No pretraining on synthetic crowds.
        Pixels have ImageNet's mean and deviation, not the data set's.
    """

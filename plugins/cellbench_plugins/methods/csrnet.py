"""CSRNet: VGG-16 up to its fourth stage, followed by dilated convolutions."""

from collections.abc import Sequence

from torch import Tensor

from cellbench.models.density_counter import DensityCounter
from cellbench.models.parts import ConvFactory, Decoder, FeatureShape
from cellbench.registry import COUNTERS, DECODERS
from cellbench_plugins.methods._dilated import WIDTHS, back_end, index_of_stride


@DECODERS.register_module()
class DilatedBackEnd(Decoder):
    """Back-end of CSRNet: six dilated 3x3 convolutions, for a large receptive field.

    Source: CSRNet, Li et al., arXiv:1802.10062, Table 3, configuration B.

    Differs: weights are drawn as He et al. do unless `std` is given, and the features are
        multiplied by `gain` first: those of VGG-16 without batch-norm are of the order of 100.
    """

    def __init__(
        self,
        in_shapes: Sequence[FeatureShape],
        conv: ConvFactory,
        *,
        stride: int | None = None,
        channels: int = WIDTHS[-1],
        dilation: int = 2,
        gain: float = 1.0,
        std: float | None = None,
    ) -> None:
        """Build the layers.

        Args:
            in_shapes: shapes of the backbone's maps, finest first.
            conv: the registered convolution; not used.
            stride: stride of the input map, px; None for the coarsest.
            channels: number of output channels.
            dilation: distance of a kernel's taps, in cells of the map.
            gain: factor on the backbone's features.
            std: standard deviation of the initial weights, 0.01 as published; None for He
                initialisation.

        Raises:
            PartError: the backbone has no map of this stride.
        """
        super().__init__()
        self.level = index_of_stride("DilatedBackEnd", in_shapes, stride)
        self.gain = gain
        inputs = in_shapes[self.level]
        self.layers = back_end(
            inputs.channels, (*WIDTHS[:-1], channels), dilation=dilation, std=std
        )
        self.shape = FeatureShape(channels, inputs.stride)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Map the chosen features to (B, channels, H/s, W/s)."""
        out: Tensor = self.layers(self.gain * features[self.level])
        return out


@COUNTERS.register_module()
class CSRNet(DensityCounter):
    """CSRNet: density map of stride 8 from VGG-16's fourth stage and dilated convolutions.

    Any backbone with a single map can precede `DilatedBackEnd`.

    Source: Li, Zhang & Chen, "CSRNet: Dilated Convolutional Neural Networks for Understanding the
        Highly Congested Scenes", arXiv:1802.10062. Published for cells, by DLA-Count's Table 2:
        MAE ADI 13.5, MBM 2.2, VGG 7.9, DCC 2.2.

    Differs: the target is computed at stride 8, where the paper's code shrinks a map by bicubic
        interpolation and changes its count; the squared error is a mean, since the learning rate of
        a sum fits one crop size; the two configs state how the recipes differ.
    """

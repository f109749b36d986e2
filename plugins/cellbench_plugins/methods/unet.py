"""U-Net for density maps: 64 channels at every level."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cellbench.models.density_counter import DensityCounter
from cellbench.models.parts import ConvFactory, Decoder, FeatureShape
from cellbench.registry import BACKBONES, COUNTERS, DECODERS
from cellbench_plugins.methods._pyramids import HalvingEncoder, conv_norm_relu, levels_from


@BACKBONES.register_module()
class UNetEncoder(HalvingEncoder):
    """U-Net encoder: levels of two 3x3 convolutions with batch-norm and ReLU; max-pools between.

    Source: Xie's U-Net (cell_counting_v2) after Ronneberger et al., arXiv:1505.04597.
    """

    def __init__(self, *, channels: Sequence[int] = (64, 64, 64, 64)) -> None:
        """Build the levels.

        Args:
            channels: channels of each level, from stride 1 on; each level halves the resolution.

        Raises:
            PartError: no level.
        """
        super().__init__(channels, _level)


def _level(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*conv_norm_relu(inputs, outputs), *conv_norm_relu(outputs, outputs))


@DECODERS.register_module()
class UNetDecoder(Decoder):
    """U-Net decoder: nearest upsampling, concatenated skips, two 3x3 convolutions per level.

    Any backbone whose strides double can be used, such as VGG16 at 1, 2, 4 and 8.

    Source: as `UNetEncoder`.
    """

    def __init__(
        self,
        in_shapes: Sequence[FeatureShape],
        conv: ConvFactory,
        *,
        stride: int = 1,
        channels: int = 64,
    ) -> None:
        """Build the levels.

        Args:
            in_shapes: shapes of the backbone's maps, finest first.
            conv: the registered convolution; not used.
            stride: stride of the output map, px; one of the backbone's.
            channels: number of channels of every level.

        Raises:
            PartError: the backbone's strides do not double from this one on.
        """
        super().__init__()
        self.used = levels_from("UNetDecoder", in_shapes, stride)
        self.levels = nn.ModuleList()
        below = in_shapes[self.used[-1]].channels
        for index in reversed(self.used[:-1]):
            inputs = below + in_shapes[index].channels
            block = [*conv_norm_relu(inputs, channels), *conv_norm_relu(channels, channels)]
            self.levels.append(nn.Sequential(*block))
            below = channels
        self.shape = FeatureShape(below, stride)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Fuse the backbone's maps, finest first, into one (B, channels, H/s, W/s)."""
        *finer, fused = (features[index] for index in self.used)
        for level, skip in zip(self.levels, reversed(finer), strict=True):
            fused = level(torch.cat([skip, F.interpolate(fused, scale_factor=2)], dim=1))
        return fused


@COUNTERS.register_module()
class UNet(DensityCounter):
    """U-Net: density map of stride 1 from a U-Net with 64 channels at every level.

    Any backbone whose strides double from the decoder's on can be used, and any decoder.

    Source: cell_counting_v2 of W. Xie, the authors' code for FCRN, which trains this U-Net;
        Ronneberger et al., arXiv:1505.04597. It has no row of its own in DLA-Count's Table 2.

    Differs: the finest level of the decoder has two convolutions, as the other levels and another
        public reimplementation have, where Xie's has one; the last 1x1 convolution has a bias,
        and starts at a prior. Kernels are drawn as He et al. do, not orthogonal, and batch-norm
        has PyTorch's constants, not Keras's. Pixels are normalised by ImageNet's mean and deviation
        per channel, not by one mean and deviation of the set. AdamW with a cosine instead of
        RMSprop in repeated steps, and crops with flips and quarter turns, which keep the count,
        instead of whole images zoomed and rotated by any amount, which does not.
    """

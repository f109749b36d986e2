"""The top-down decoder of feature pyramids."""

from collections.abc import Sequence

from torch import Tensor

from cellbench.models.parts import ConvFactory, FeatureShape
from cellbench.registry import DECODERS
from cellbench_plugins.decoders._levels import TopDown, upsample


@DECODERS.register_module()
class FPN(TopDown):
    """Feature pyramid, down to one level.

    1x1 laterals, nearest upsampling, addition, and the registered convolution on the level that
    goes out.

    Source: Feature Pyramid Networks, arXiv:1612.03144, section 3; as the decoder of P2PNet,
    arXiv:2107.12746.

    Differs: only the level that is used is made; an odd map is met by cropping the upsampled one.
    Weights start at sqrt(3) times the deviation of PyTorch's, which P2PNet keeps, and biases at 0.
    """

    def __init__(
        self,
        in_shapes: Sequence[FeatureShape],
        conv: ConvFactory,
        *,
        channels: int = 256,
        stride: int = 8,
    ) -> None:
        """Make the decoder.

        Args:
            in_shapes: of the backbone's maps, finest first.
            conv: the registered convolution.
            channels: of the map that goes out and of everything before it.
            stride: of the map that goes out, px; one of the backbone's.

        Raises:
            PartError: the backbone has no map of this stride.
        """
        super().__init__(in_shapes, channels=channels, stride=stride)
        self.conv = conv(channels, channels)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Fuse the backbone's maps, finest first, into one (B, channels, H/s, W/s)."""
        fused, finer = self.maps(features)
        for own, ratio in zip(finer, self.ratios, strict=True):
            fused = own + upsample(fused, ratio, own)
        out: Tensor = self.conv(fused)
        return out

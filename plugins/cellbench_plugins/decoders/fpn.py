"""Feature pyramid network (FPN) as a decoder."""

from collections.abc import Sequence

from torch import Tensor

from cellbench.models.parts import ConvFactory, FeatureShape
from cellbench.registry import DECODERS
from cellbench_plugins.decoders._levels import TopDown, upsample


@DECODERS.register_module()
class FPN(TopDown):
    """Feature pyramid network with a single output level.

    1x1 laterals, nearest upsampling, addition, and the registered convolution on the output level.

    Source: Feature Pyramid Networks, arXiv:1612.03144, section 3; as the decoder of P2PNet,
    arXiv:2107.12746.

    Differs: only the level that is used is computed; for a map of odd size the upsampled one is
    cropped. Weights start at sqrt(3) times the deviation of PyTorch's, which P2PNet keeps, and
    biases at 0.
    """

    def __init__(
        self,
        in_shapes: Sequence[FeatureShape],
        conv: ConvFactory,
        *,
        channels: int = 256,
        stride: int = 8,
    ) -> None:
        """Build the decoder.

        Args:
            in_shapes: shapes of the backbone's maps, finest first.
            conv: the registered convolution.
            channels: number of channels of the output and of all hidden maps.
            stride: stride of the output map, px; one of the backbone's.

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

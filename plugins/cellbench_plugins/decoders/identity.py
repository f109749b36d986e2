"""Identity decoder: one map of the backbone, unchanged."""

from collections.abc import Sequence

from torch import Tensor

from cellbench.errors import PartError
from cellbench.models.parts import ConvFactory, Decoder, FeatureShape
from cellbench.registry import DECODERS


@DECODERS.register_module()
class Identity(Decoder):
    """Identity decoder: returns one map of the backbone unchanged.

    For networks without a decoder. The map is that of `stride`, or the finest.

    Source: single-column density networks such as CSRNet, arXiv:1802.10062.
    """

    def __init__(
        self, in_shapes: Sequence[FeatureShape], conv: ConvFactory, *, stride: int | None = None
    ) -> None:
        """Choose the map.

        Args:
            in_shapes: shapes of the backbone's maps, finest first.
            conv: the registered convolution; not used.
            stride: stride of the map that is returned, px; None for the finest.

        Raises:
            PartError: the backbone has no map of this stride.
        """
        super().__init__()
        strides = [shape.stride for shape in in_shapes]
        if stride is not None and stride not in strides:
            raise PartError(
                f"stride: Identity passes on a map of its backbone, {strides}, none of {stride}."
            )
        self.level = 0 if stride is None else strides.index(stride)
        self.shape = in_shapes[self.level]

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return the chosen map, (B, C, H/s, W/s)."""
        return features[self.level]

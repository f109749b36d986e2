"""Layers and checks shared by U-shaped density networks."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from cellbench.errors import PartError
from cellbench.models.parts import Backbone, FeatureShape


class HalvingEncoder(Backbone):
    """U-Net encoder: levels with a max-pool between them."""

    def __init__(self, channels: Sequence[int], level: Callable[[int, int], nn.Module]) -> None:
        """Build the levels.

        Args:
            channels: channels of each level, from stride 1 on; each level halves the resolution.
            level: function that builds a level from its input and output channels.

        Raises:
            PartError: no level.
        """
        super().__init__()
        if not channels:
            raise PartError("channels: a U-Net has at least one level.")
        inputs = (3, *channels[:-1])
        self.levels = nn.ModuleList(map(level, inputs, channels))
        self.shapes = tuple(
            FeatureShape(outputs, 2**depth) for depth, outputs in enumerate(channels)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) images to (B, C_i, H / 2^i, W / 2^i)."""
        maps: list[Tensor] = []
        features = images
        for index, level in enumerate(self.levels):
            features = level(F.max_pool2d(features, 2) if index else features)
            maps.append(features)
        return maps


def levels_from(name: str, in_shapes: Sequence[FeatureShape], stride: int) -> list[int]:
    """Select the maps from a stride to the coarsest, whose strides have to double; return indices.

    Args:
        name: name of the decoder, for the error message.
        in_shapes: shapes of the backbone's maps, finest first.
        stride: stride of the finest map that is used.

    Raises:
        PartError: there is no map of this stride, or the strides from it on do not double.
    """
    strides = [shape.stride for shape in in_shapes]
    used = [index for index, own in enumerate(strides) if own >= stride]
    doubled = all(2 * strides[a] == strides[b] for a, b in pairwise(used))
    if stride not in strides or not doubled:
        raise PartError(
            f"{name} climbs from map to map of twice the height and width down to stride "
            f"{stride}; the backbone's strides are {strides}."
        )
    return used


class SelfAttention(nn.Module):
    """Residual self-attention over all positions of a map.

    1x1 convolutions compute queries, keys and values of full width; the products of queries and
    keys are not scaled. Keys have no bias, because the softmax cancels it. The output of the
    attention passes a 1x1 convolution, ReLU and batch-norm. Outside training the matrix of all
    pairs is never stored: 600x600 px at stride 8 are 5625 positions and would need 127 MB an image.

    Source: SAU-Net, Guo et al., 2019; Wang et al., "Non-local Neural Networks", arXiv:1711.07971.

    Differs: queries and keys start with a deviation of C^-0.75; theirs is C^-0.5 (Glorot).
    """

    def __init__(self, channels: int, *, pair_dropout: float = 0.0, dropout: float = 0.0) -> None:
        """Build the projections.

        Args:
            channels: number of channels of the map.
            pair_dropout: share of the pairs dropped in training.
            dropout: share of the channels of the attention's output dropped in training.
        """
        super().__init__()
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1, bias=False)
        self.value = nn.Conv2d(channels, channels, 1)
        self.pair_dropout = pair_dropout
        self.dropout = nn.Dropout2d(dropout)
        self.out = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        for projection in (self.query, self.key):
            # products of random vectors of unit length are small: attention starts uniform
            nn.init.normal_(projection.weight, std=channels**-0.75)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        query, key, value = (
            projection(features).flatten(2).transpose(1, 2).contiguous()  # (B, h * w, C)
            for projection in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(
            query[:, None],
            key[:, None],
            value[:, None],
            dropout_p=self.pair_dropout if self.training else 0.0,
            scale=1.0,
        )
        attended = attended[:, 0].transpose(1, 2).reshape_as(features)
        out: Tensor = features + self.norm(F.relu(self.out(self.dropout(attended))))
        return out


def conv_norm_relu(inputs: int, outputs: int) -> list[nn.Module]:
    """Build a 3x3 convolution, batch-norm and ReLU."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

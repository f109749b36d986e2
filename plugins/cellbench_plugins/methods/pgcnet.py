"""PGC-Net: a U-Net whose skip connections have scaled gradients."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cellbench.errors import PartError
from cellbench.models.density_counter import DensityCounter
from cellbench.models.parts import Backbone, ConvFactory, Decoder, FeatureShape
from cellbench.registry import BACKBONES, COUNTERS, DECODERS
from cellbench_plugins.methods._pyramids import SelfAttention, conv_norm_relu, levels_from


@BACKBONES.register_module()
class PGCNetEncoder(Backbone):
    """Encoder of PGC-Net: levels of two 3x3 convolutions, and depth-wise downsampling.

    Convolutions have batch-norm and ReLU. A depth-wise 2x2 convolution of stride 2 replaces the
    max-pool of a U-Net.

    Source: PGC-Net, IEEE Access 2024.
    """

    def __init__(self, *, channels: Sequence[int] = (32, 64, 128, 256)) -> None:
        """Build the levels.

        Args:
            channels: channels of each level, from stride 1 on; each level halves the resolution.

        Raises:
            PartError: no level.
        """
        super().__init__()
        if not channels:
            raise PartError("channels: a PGC-Net has at least one level.")
        self.levels, self.downs = nn.ModuleList(), nn.ModuleList([nn.Identity()])
        inputs = 3
        for outputs in channels:
            if self.levels:
                self.downs.append(nn.Conv2d(inputs, inputs, 2, stride=2, groups=inputs))
            block = [*conv_norm_relu(inputs, outputs), *conv_norm_relu(outputs, outputs)]
            self.levels.append(nn.Sequential(*block))
            inputs = outputs
        self.shapes = tuple(
            FeatureShape(outputs, 2**level) for level, outputs in enumerate(channels)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) images to (B, C_i, H / 2^i, W / 2^i)."""
        maps: list[Tensor] = []
        features = images
        for down, level in zip(self.downs, self.levels, strict=True):
            features = level(down(features))
            maps.append(features)
        return maps


@DECODERS.register_module()
class PGCNetDecoder(Decoder):
    """Decoder of PGC-Net: self-attention, then upsampling with gradient-controlled skips.

    The gradient from a skip to the encoder is multiplied by the level's factor; the forward pass is
    that of a plain skip. Upsampling is by depth-wise transposed convolutions. The finest skip has
    one more convolution, and its concatenation is weighted by a channel attention without
    parameters. Any backbone whose strides double can be used.

    Source: PGC-Net, IEEE Access 2024.
    """

    def __init__(
        self,
        in_shapes: Sequence[FeatureShape],
        conv: ConvFactory,
        *,
        stride: int = 1,
        gradient: Sequence[float] = (0.4, 0.8, 0.4),
        dropout: float = 0.1,
    ) -> None:
        """Build attention and levels.

        Args:
            in_shapes: shapes of the backbone's maps, finest first; each level has the channels of
                its skip.
            conv: the registered convolution; not used.
            stride: stride of the output map, px; one of the backbone's.
            gradient: factors of the skips' gradients, finest first; 1 for further skips.
            dropout: share of the channels of the attention's output dropped in training.

        Raises:
            PartError: the backbone's strides do not double from this one on, or a factor is
                negative.
        """
        super().__init__()
        if any(factor < 0 for factor in gradient):
            raise PartError(f"gradient: factors are at least 0, not {tuple(gradient)}.")
        self.used = levels_from("PGCNetDecoder", in_shapes, stride)
        skips = len(self.used) - 1
        self.gradient = [*gradient, *[1.0] * skips][:skips]
        below = in_shapes[self.used[-1]].channels
        self.attention = SelfAttention(below, dropout=dropout)
        finest = in_shapes[self.used[0]].channels
        self.extra = nn.Sequential(*conv_norm_relu(finest, finest)) if skips else nn.Identity()
        self.ups, self.levels = nn.ModuleList(), nn.ModuleList()
        for index in reversed(self.used[:-1]):
            channels = in_shapes[index].channels
            self.ups.append(
                nn.Sequential(
                    nn.ConvTranspose2d(below, below, 2, stride=2, groups=below),
                    nn.Conv2d(below, channels, 1),
                )
            )
            block = [*conv_norm_relu(2 * channels, channels), *conv_norm_relu(channels, channels)]
            self.levels.append(nn.Sequential(*block))
            below = channels
        self.shape = FeatureShape(below, stride)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Fuse the backbone's maps, finest first, into one (B, C, H/s, W/s)."""
        *finer, coarsest = (features[index] for index in self.used)
        skips = [scale_gradient(skip, by) for skip, by in zip(finer, self.gradient, strict=True)]
        if skips:
            skips[0] = self.extra(skips[0])
        fused: Tensor = self.attention(coarsest)
        for level, up in enumerate(self.ups, start=1):
            fused = torch.cat([skips[-level], up(fused)], dim=1)
            if level == len(self.ups):
                fused = attend_channels(fused)
            fused = self.levels[level - 1](fused)
        return fused


@COUNTERS.register_module()
class PGCNet(DensityCounter):
    """PGC-Net: density map of stride 1 from a U-Net whose skip connections have scaled gradients.

    Any backbone whose strides double can be used, and any decoder.

    Source: PGC-Net, IEEE Access 2024, by the code published under that name. Published: MAE VGG
        1.9, MBM 3.7, ADI 8.9, by that code on the validation images, randomly cropped, flipped
        and rotated, at the best epoch on them.

    Differs: validation and test use whole images without augmentation, the best weights are kept as
        a copy, and images are rotated by quarter turns only, which keep the count. AdamW with one
        cosine instead of Adam at 0.01 with restarts. Convolutions in front of a batch-norm have
        no bias, which it would subtract, and neither has the self-attention's last one, before a
        ReLU, where theirs has one. Dropout drops channels of the attention's output; theirs is
        applied to the attention's weights, where it drops whole positions. Maps are trained at one
        scale (theirs: 1000 on MBM, 300 on DCC, 100 on ADI and VGG). The target's deviation is not
        known to us. Pixels have ImageNet's mean and deviation; theirs are 0 to 1. Kernels are drawn
        as He et al. do and the last convolution starts at a prior; theirs start as PyTorch's do.
    """


class _Scaled(torch.autograd.Function):
    """Identity whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None


def scale_gradient(features: Tensor, factor: float) -> Tensor:
    """Return the features unchanged, with their gradient multiplied by `factor`."""
    controlled: Tensor = _Scaled.apply(features, factor)
    return controlled


def attend_channels(features: Tensor) -> Tensor:
    """Apply channel attention without parameters: x + softmax(g g^T g) x.

    Args:
        features: (B, C, H, W); g is their mean over height and width, (B, C).
    """
    g = features.mean(dim=(2, 3))
    weights = (g * g.square().sum(dim=1, keepdim=True)).softmax(dim=1)
    return features + weights[:, :, None, None] * features

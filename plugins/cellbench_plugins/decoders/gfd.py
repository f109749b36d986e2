"""Decoder of DLA-Count: gated fusion, then Gaussian enhancement of cells."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cellbench.models.parts import ConvFactory, FeatureShape
from cellbench.registry import DECODERS
from cellbench_plugins._ops.gaussian import gaussian_imagewise
from cellbench_plugins.decoders._levels import TopDown, init_conv_, upsample


@DECODERS.register_module()
class GFD(TopDown):
    """Gaussian-enhanced feature decoder of DLA-Count.

    The registered convolution is applied to the coarsest map before upsampling and to the fused
    map after; each fusion is gated by pixel and channel between the finer and the coarser map;
    finally Gaussian-enhanced spatial attention amplifies cells over background.

    Source: DLA-Count, sections 1, 2.1 and 4 and Fig. 1 (F4 and F5, output at 1/8).

    Differs: the paper gives no formulas, and the released code has P2PNet's pyramid (`FPN`) in its
    place. Ours: a gate is the sigmoid of a small network on both maps, and the blend is multiplied
    by two, so that a gate of one half gives the sum of an FPN; see `GaussianAttention` for the
    enhancement. For an output finer than the second coarsest map, further gates fuse the finer
    maps, each followed by a depthwise separable 3x3 with a shortcut instead of the registered
    convolution, whose cost grows with the number of pixels. Gates, enhancement and refinement
    start near the identity: at the start this is an FPN.
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
            conv: the registered convolution, built twice (once where there is one level).
            channels: number of channels of the output and of all hidden maps.
            stride: stride of the output map, px; one of the backbone's.

        Raises:
            PartError: the backbone has no map of this stride.
        """
        super().__init__(in_shapes, channels=channels, stride=stride)
        self.coarse_conv = conv(channels, channels)
        self.gates = nn.ModuleList(GatedFusion(channels) for _ in self.ratios)
        self.fused_convs = nn.ModuleList(
            conv(channels, channels) if index == 0 else Refine(channels)
            for index in range(len(self.ratios))
        )
        self.attention = GaussianAttention(channels)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Fuse the backbone's maps, finest first, into one (B, channels, H/s, W/s)."""
        fused, finer = self.maps(features)
        fused = self.coarse_conv(fused)
        steps = zip(finer, self.ratios, self.gates, self.fused_convs, strict=True)
        for own, ratio, gate, conv in steps:
            fused = conv(gate(own, upsample(fused, ratio, own)))
        out: Tensor = self.attention(fused)
        return out


class GatedFusion(nn.Module):
    """Gated sum of a fine and a coarse map, by pixel and channel: 2 (g fine + (1 - g) coarse).

    The gate g is computed from both maps with `channels / 8` hidden units.
    """

    def __init__(self, channels: int) -> None:
        """Build the gate for a number of channels."""
        super().__init__()
        hidden = max(8, channels // 8)
        self.fine = nn.Conv2d(channels, hidden, 1)
        self.coarse = nn.Conv2d(channels, hidden, 1, bias=False)
        self.gate = init_conv_(nn.Conv2d(hidden, channels, 1), gain=0.1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Fuse two (B, C, H, W) maps into one."""
        # In place wherever no gradient needs the old values: these maps are the largest.
        gate = self.gate(self.fine(fine).add_(self.coarse(coarse)).relu_()).sigmoid_()
        # lerp needs equal dtypes; CUDA's autocast, unlike the CPU's, does not cast its arguments
        dtype = torch.promote_types(coarse.dtype, fine.dtype)
        return torch.lerp(coarse.to(dtype), fine.to(dtype), gate.to(dtype)).mul_(2)


class Refine(nn.Module):
    """Depthwise separable 3x3 convolution with a shortcut, to smooth the upsampled map."""

    def __init__(self, channels: int) -> None:
        """Build the layer for a number of channels."""
        super().__init__()
        depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.depthwise = init_conv_(depthwise, gain=1.0)
        self.pointwise = init_conv_(nn.Conv2d(channels, channels, 1), gain=0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Refine (B, C, H, W)."""
        out: Tensor = self.pointwise(self.depthwise(x).relu_())
        return out.add_(x)


class GaussianAttention(nn.Module):
    """Centre-surround spatial attention with two Gaussians.

    A 1x1 convolution computes the evidence e of a cell from the features. Two Gaussians with
    trainable deviations smooth it to the size of a cell and to that of its surroundings; the map
    is multiplied by 2 sigmoid(centre + lift (centre - surround)), which is 1 where e is 0.
    """

    SIZES = (5, 9)
    SIGMA_PX = (0.8, 2.5)

    def __init__(self, channels: int) -> None:
        """Build the layer for a number of channels."""
        super().__init__()
        self.evidence = init_conv_(nn.Conv2d(channels, 1, 1), gain=0.1)
        self.log_sigma = nn.Parameter(torch.tensor(self.SIGMA_PX).log())
        self.lift = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Enhance (B, C, H, W)."""
        evidence = self.evidence(x)
        sigma = self.log_sigma.exp().expand(x.shape[0], -1)
        still = torch.zeros_like(sigma)
        smooth = gaussian_imagewise(evidence, sigma, sigma, still, still, sizes=self.SIZES)
        centre, surround = smooth.chunk(2, dim=1)
        lifted = centre + self.lift.to(centre.dtype) * (centre - surround)
        return x * (2 * lifted.sigmoid())

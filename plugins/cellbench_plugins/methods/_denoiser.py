"""Networks of DiffuseDenoise: a small denoising U-Net and its count branch."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PixelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel of (B, C, H, W).

    It depends on the pixel alone, so that outputs are the same for an image alone, in a batch, as a
    crop and whole.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each pixel of (B, C, H, W)."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class TimedBlock(nn.Module):
    """Residual block of two normalised convolutions, scaled and shifted by the diffusion time.

    Source: the residual block of Dhariwal & Nichol, arXiv:2105.05233, section 3.

    Differs: the normalisation is `PixelNorm`; the second convolution starts small, not at zero.
    """

    def __init__(self, inputs: int, outputs: int, time_channels: int) -> None:
        """Build the block.

        Args:
            inputs: number of input channels.
            outputs: number of output channels.
            time_channels: channels of the embedding of the time.
        """
        super().__init__()
        self.norm1 = PixelNorm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(time_channels, 2 * outputs)
        self.norm2 = PixelNorm(outputs, elementwise_affine=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        with torch.no_grad():
            self.conv2.weight.mul_(0.1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Map (B, inputs, H, W) and (B, time_channels) to (B, outputs, H, W)."""
        scale, shift = self.time(time)[:, :, None, None].chunk(2, dim=1)
        inner = self.conv1(F.silu(self.norm1(x)))
        inner = self.norm2(inner) * (1 + scale) + shift
        out: Tensor = self.skip(x) + self.conv2(F.silu(inner))
        return out


class DenoisingUNet(nn.Module):
    """Denoising U-Net conditioned on the diffusion time and on features of the image.

    One `TimedBlock` per encoder level, one at the bottom and one per decoder level; average pooling
    down, nearest upsampling. It has no attention, and takes maps of any size whose sides are
    multiples of 2 ** (levels - 1).

    Source: the denoising network of CrowdDiff, arXiv:2303.12790, that of arXiv:2105.05233.

    Differs: a few channels and levels where CrowdDiff has 192 channels, six levels of two blocks
        and attention; the image's features are computed once and are an input beside the noisy map,
        where CrowdDiff gives the image's pixels to each pass; no variance is predicted.

    Attributes:
        widths: channels of the decoder blocks, which the count branch pools, coarse to fine.
    """

    def __init__(
        self, condition: int, *, width: int, multipliers: Sequence[int], time_channels: int = 128
    ) -> None:
        """Build the network.

        Args:
            condition: channels of the image's features.
            width: channels of the finest level.
            multipliers: channels of each level as multiples of `width`, finest first.
            time_channels: channels of the embedding of the time; even.
        """
        super().__init__()
        channels = [width * multiplier for multiplier in multipliers]
        self.frequencies = time_channels // 2
        self.embed = nn.Sequential(
            nn.Linear(time_channels, time_channels),
            nn.SiLU(),
            nn.Linear(time_channels, time_channels),
            nn.SiLU(),
        )
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.condition = nn.Sequential(
            PixelNorm(condition), nn.Conv2d(condition, width, 3, padding=1)
        )
        inputs = [width, *channels[:-1]]
        self.down = nn.ModuleList(
            TimedBlock(i, o, time_channels) for i, o in zip(inputs, channels, strict=True)
        )
        self.bottom = TimedBlock(channels[-1], channels[-1], time_channels)
        below = [channels[-1], *channels[:0:-1]]
        self.up = nn.ModuleList(
            TimedBlock(b + own, own, time_channels)
            for b, own in zip(below, channels[::-1], strict=True)
        )
        self.norm = PixelNorm(width)
        self.last = nn.Conv2d(width, 1, 3, padding=1)
        self.widths = tuple(channels[::-1])

    def conditions(self, features: Tensor) -> Tensor:
        """Map image features (B, C, H, W) to the (B, width, H, W) added after the first layer."""
        out: Tensor = self.condition(features)
        return out

    def forward(
        self, noisy: Tensor, time: Tensor, conditions: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Predict the velocity from a noisy map.

        Args:
            noisy: (B, 1, H, W).
            time: (B,) in [0, 1].
            conditions: (B, width, H, W) of `conditions`.

        Returns:
            The (B, 1, H, W) prediction, and the maps of the decoder blocks, coarse to fine.
        """
        embedded = self.embed(_waves(time, self.frequencies))
        x = self.first(noisy) + conditions
        kept = []
        for level, block in enumerate(self.down):
            if level:
                x = F.avg_pool2d(x, 2)
            x = block(x, embedded)
            kept.append(x)
        x = self.bottom(x, embedded)
        maps = []
        for level, block in enumerate(self.up):
            if level:
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, kept[-1 - level]], dim=1), embedded)
            maps.append(x)
        return self.last(F.silu(self.norm(x))), maps


class CountBranch(nn.Module):
    """Count regression from the means of the denoiser's maps, an auxiliary task in training.

    Source: the regression branch of CrowdDiff, arXiv:2303.12790.

    Differs: it predicts cells per square of 64 px of the input, because crops differ in size, where
    CrowdDiff predicts those of a crop of 256 px, 16 times as many, with the same weight in the
    loss.
    """

    def __init__(self, widths: Sequence[int], *, hidden: int = 64) -> None:
        """Build the branch.

        Args:
            widths: channels of the maps.
            hidden: width of the hidden layer.
        """
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(sum(widths)),
            nn.Linear(sum(widths), hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )

    def forward(self, maps: Sequence[Tensor], inside: Tensor) -> Tensor:
        """Map the (B, C_i, H_i, W_i) maps and the (B, 1, H, W) 0/1 mask of the image to (B,)."""
        means = []
        for own in maps:
            weight = F.adaptive_avg_pool2d(inside, (own.shape[2], own.shape[3]))
            means.append((own * weight).sum(dim=(2, 3)) / weight.sum(dim=(2, 3)).clamp_min(1e-6))
        out: Tensor = self.layers(torch.cat(means, dim=1)).squeeze(1)
        return out


def _waves(time: Tensor, frequencies: int) -> Tensor:
    """Compute sines and cosines of the time in 0..1, slow to fast: (B, 2 * frequencies)."""
    rates = torch.exp(math.log(1000.0) * torch.linspace(0, 1, frequencies, device=time.device))
    angles = time[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)

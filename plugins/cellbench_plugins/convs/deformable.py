"""Modulated deformable convolution."""

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from cellbench.registry import CONVS
from cellbench_plugins.convs.standard import check_odd


@CONVS.register_module()
class Deformable(nn.Module):
    """Modulated deformable convolution: an offset and a weight per tap and pixel.

    Source: Deformable ConvNets v2, arXiv:1811.11168, Eq. 1.

    Differs: masks are twice a sigmoid, so that the layer starts as the ordinary convolution with
    the same weights instead of half of it. Offsets and masks learn at the layer's full rate, not
    at a tenth of it. Runs in float32 under autocast: bfloat16 is too coarse for sampling positions.
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int = 3) -> None:
        """Build the layer.

        Args:
            in_channels: number of input channels.
            out_channels: number of output channels; height and width do not change.
            kernel_size: odd, px.

        Raises:
            PartError: the kernel size is even or not positive.
        """
        super().__init__()
        check_odd("Deformable", kernel_size)
        self.taps = kernel_size**2
        self.padding = kernel_size // 2
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.kaiming_normal_(self.weight, nonlinearity="linear")
        self.where = nn.Conv2d(in_channels, 3 * self.taps, kernel_size, padding=self.padding)
        for parameter in self.where.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, in_channels, H, W) to (B, out_channels, H, W), in the dtype of `x`."""
        where = self.where(x).to(self.weight.dtype)  # (B, 3 * taps, H, W)
        offset, mask = where.split([2 * self.taps, self.taps], dim=1)
        # The operator supports one memory layout only.
        with torch.autocast(x.device.type, enabled=False):
            out = deform_conv2d(
                x.to(self.weight.dtype).contiguous(),
                offset.contiguous(),
                self.weight.contiguous(),
                self.bias,
                padding=self.padding,
                mask=(2 * mask.sigmoid()).contiguous(),
            )
        if x.is_contiguous(memory_format=torch.channels_last):
            out = out.contiguous(memory_format=torch.channels_last)
        return out.to(x.dtype)

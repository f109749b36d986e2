"""Ordinary convolution."""

from typing import Literal

from torch import Tensor, nn

from cellbench.errors import PartError
from cellbench.registry import CONVS


@CONVS.register_module()
class Standard(nn.Sequential):
    """Square convolution with an optional normalisation and activation.

    By default there is no normalisation, because batch statistics of a few small crops do not fit
    whole images; `batch` is there for comparisons.

    Source: the 3x3 convolutions of P2PNet's decoder, arXiv:2107.12746, which have neither.

    Differs: He initialisation of the weights and zero biases, not PyTorch's defaults.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        norm: Literal["none", "batch", "group"] = "none",
        activation: Literal["none", "relu"] = "none",
    ) -> None:
        """Build the layer.

        Args:
            in_channels: number of input channels.
            out_channels: number of output channels; height and width do not change.
            kernel_size: odd, px.
            norm: "group" uses groups of 16 channels, or one group if 16 does not divide them.
            activation: activation after the normalisation.

        Raises:
            PartError: the kernel size is even or not positive.
        """
        super().__init__()
        check_odd("Standard", kernel_size)
        conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            padding=kernel_size // 2,
            bias=norm == "none",
        )
        nn.init.kaiming_normal_(
            conv.weight, nonlinearity="relu" if activation == "relu" else "linear"
        )
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
        self.add_module("conv", conv)
        if norm == "batch":
            self.add_module("norm", nn.BatchNorm2d(out_channels))
        elif norm == "group":
            groups = out_channels // 16 if out_channels % 16 == 0 else 1
            self.add_module("norm", nn.GroupNorm(groups, out_channels))
        if activation == "relu":
            self.add_module("activation", nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, in_channels, H, W) to (B, out_channels, H, W)."""
        out: Tensor = super().forward(x)
        return out


def check_odd(part: str, kernel_size: int) -> None:
    """Validate that a kernel has a central tap.

    Raises:
        PartError: the size is even or not positive.
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise PartError(
            f"kernel_size: {part} wants an odd positive number of px so that the map keeps its "
            f"size, not {kernel_size}."
        )

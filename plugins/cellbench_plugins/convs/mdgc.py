"""Convolution of DLA-Count: Gaussian kernels with parameters predicted per pixel."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellbench.errors import PartError
from cellbench.registry import CONVS
from cellbench_plugins._ops.gaussian import gaussian_imagewise, gaussian_pixelwise

SIGMA_PX = (1.0, 10.0)
OFFSET_PX = 2.0


@CONVS.register_module()
class MDGC(nn.Module):
    """Multi-scale deformable Gaussian convolution of DLA-Count.

    Two paths process the same reduced map at the same scales: depthwise separable convolutions, and
    Gaussian kernels whose deviation and centre a small subnetwork predicts. Channel attention
    weights the features of both paths; their projection is added to the input.

    Source: DLA-Count, section 2.3, Eq. 3 and 4, Fig. 3.

    Differs: where the paper gives no detail, these are our choices. Both paths work on one in
    `reduction` of the channels, normalised over the channels of each pixel, which needs no batch
    statistics and is the same for a crop and for a whole image. The subnetwork is one 3x3
    convolution; each scale has its own sigma, centre and pair s_x, s_y (s = exp of a parameter, so
    it is positive and weight decay draws it to 1), all channels share them, and lengths are in px
    of the map. The 1x1 half of the separable convolutions follows the Gaussian kernels too, and
    activations are ReLU, not the released SiLU. There is neither the bottleneck nor the
    FusionAttention of Fig. 3, in the released code a split into halves and a second attention
    around such a block. Sigma starts at 1.4 to 2.1 px and not in the middle of [1, 10], where a
    kernel on a support of 9 px would be flat. alpha is a sigmoid of a two-layer network on
    GAP(F_cat), and alpha' multiplies F_cat. The Gaussian is normalised to unit sum over the taps
    inside the map by default, since Eq. 3 on a truncated support loses up to 99 % of its mass;
    `normalise="density"` is Eq. 3 to the letter, with zeros outside the map. The last layer starts
    small, so that the module starts near its shortcut.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        scales: Sequence[int] = (3, 5, 7, 9),
        parameters: Literal["pixel", "image"] = "pixel",
        normalise: Literal["unit", "density"] = "unit",
        reduction: int = 4,
    ) -> None:
        """Build the layer.

        Args:
            in_channels: number of input channels.
            out_channels: number of output channels; height and width do not change.
            scales: odd widths of the kernels, px.
            parameters: one set of Gaussian parameters per "pixel" and scale, or per "image" and
                scale as in the released code; the latter is separable.
            normalise: "unit" sum, or the "density" of Eq. 3.
            reduction: the paths work on `in_channels // reduction` channels, at least 8.

        Raises:
            PartError: a scale is even or not positive, there is none, or `reduction` is below 1.
        """
        super().__init__()
        if not scales or any(size < 1 or size % 2 == 0 for size in scales):
            raise PartError(
                f"scales: MDGC wants odd positive kernel widths such as (3, 5, 7, 9), "
                f"not {tuple(scales)}."
            )
        if reduction < 1:
            raise PartError(f"reduction: MDGC wants 1 or more, not {reduction}.")
        self.scales = tuple(scales)
        self.parameters_per = parameters
        self.normalise: Literal["unit", "density"] = normalise
        count = len(self.scales)
        width = max(8, in_channels // reduction)
        self.reduce = nn.Conv2d(in_channels, width, 1, bias=False)
        self.norm = nn.LayerNorm(width)
        self.depthwise = nn.ModuleList(
            nn.Conv2d(width, width, size, padding=size // 2, groups=width, bias=False)
            for size in self.scales
        )
        self.pointwise = nn.Conv2d(2 * count * width, 2 * count * width, 1, groups=2 * count)
        kernel = 3 if parameters == "pixel" else 1
        self.predict = nn.Conv2d(width, 3 * count, kernel, padding=kernel // 2)
        self.log_axes = nn.Parameter(torch.zeros(2, count))  # log s_x, log s_y
        cat = 2 * count * width
        self.attention = nn.Sequential(
            nn.Linear(cat, max(8, cat // 8)),
            nn.ReLU(inplace=True),
            nn.Linear(max(8, cat // 8), cat),
            nn.Sigmoid(),
        )
        self.project = nn.Conv2d(cat, out_channels, 1)
        self.shortcut = (
            nn.Identity()
            if in_channels == out_channels
            else nn.Conv2d(in_channels, out_channels, 1)
        )
        self._initialise()

    def _initialise(self) -> None:
        for conv in (self.reduce, *self.depthwise, self.pointwise):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        # The branch starts at a tenth of the shortcut, with nearly equal kernels at all pixels.
        nn.init.normal_(self.project.weight, std=0.1 / math.sqrt(self.project.in_channels))
        nn.init.normal_(self.predict.weight, std=0.02 / math.sqrt(self.predict.weight[0].numel()))
        low, high = SIGMA_PX
        start = torch.tensor([1 + size / 8 for size in self.scales]).clamp(max=high - 1)
        offsets = torch.zeros(2 * len(start))
        self.predict.bias = nn.Parameter(
            torch.cat([((start - low) / (high - low)).logit(), offsets])
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, in_channels, H, W) to (B, out_channels, H, W)."""
        normal = self.norm(self.reduce(x).permute(0, 2, 3, 1))  # each pixel over its channels
        reduced = F.relu(normal.permute(0, 3, 1, 2))
        paths = [conv(reduced) for conv in self.depthwise]
        source, apply = reduced, gaussian_pixelwise
        if self.parameters_per == "image":
            source, apply = reduced.mean(dim=(2, 3), keepdim=True), gaussian_imagewise
        kernels = self.kernel_parameters(source)
        if self.parameters_per == "image":
            kernels = tuple(p[:, :, 0, 0] for p in kernels)
        gaussian = apply(reduced, *kernels, sizes=self.scales, normalise=self.normalise)
        paths.append(gaussian)  # (B, S * C, H, W)
        cat = F.relu(self.pointwise(torch.cat(paths, dim=1)))
        pooled = cat.mean(dim=(2, 3))
        weight = self.attention(pooled) + pooled  # Eq. 4
        return self.shortcut(x) + self.project(cat * weight[:, :, None, None])

    def kernel_parameters(self, source: Tensor) -> tuple[Tensor, ...]:
        """Predict sigma_x, sigma_y, offset_x, offset_y, px: each (B, S, H, W) of `source`."""
        low, high = SIGMA_PX
        raw = self.predict(source).to(self.log_axes.dtype)
        sigma, offset_x, offset_y = raw.chunk(3, dim=1)
        sigma = low + (high - low) * sigma.sigmoid()
        scale_x, scale_y = self.log_axes.exp()[:, None, :, None, None]
        return (
            sigma * scale_x,
            sigma * scale_y,
            OFFSET_PX * offset_x.tanh(),
            OFFSET_PX * offset_y.tanh(),
        )

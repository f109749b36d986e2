"""MCNN: three parallel columns of different receptive fields."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cellbench.models.density_counter import DensityCounter
from cellbench.models.parts import Backbone, FeatureShape
from cellbench.registry import BACKBONES, COUNTERS

# Per column: the sizes of its four kernels and their channels.
COLUMNS = (
    ((9, 7, 7, 7), (16, 32, 16, 8)),
    ((7, 5, 5, 5), (20, 40, 20, 10)),
    ((5, 3, 3, 3), (24, 48, 24, 12)),
)


@BACKBONES.register_module()
class MCNNColumns(Backbone):
    """Three parallel columns of four convolutions with different kernel sizes, at stride 4.

    Large kernels suit large cells, small ones small cells; their 30 channels are concatenated. The
    first two convolutions of each column are followed by a max-pool.

    Source: MCNN, Zhang et al., CVPR 2016, section 2.3.

    Differs: with `batch_norm` (the default) each convolution is followed by one, and weights are
        drawn as He et al. do: with the paper's deviation of 0.01 and no normalisation the signal
        shrinks a hundredfold by the last convolution, and the paper pretrains each column
        separately.
    """

    def __init__(self, *, batch_norm: bool = True, std: float | None = None) -> None:
        """Build the columns.

        Args:
            batch_norm: follow each convolution with batch-norm.
            std: standard deviation of the initial weights; None for He initialisation.
        """
        super().__init__()
        self.columns = nn.ModuleList(
            _column(kernels, channels, batch_norm=batch_norm, std=std)
            for kernels, channels in COLUMNS
        )
        self.shapes = (FeatureShape(sum(channels[-1] for _, channels in COLUMNS), 4),)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) images to one (B, 30, H/4, W/4)."""
        return [torch.cat([column(images) for column in self.columns], dim=1)]


@COUNTERS.register_module()
class MCNN(DensityCounter):
    """MCNN: density map of stride 4 from three columns of different receptive fields.

    Any other backbone can be used instead of the columns.

    Source: Zhang et al., "Single-Image Crowd Counting via Multi-Column Convolutional Neural
        Network", CVPR 2016. Published for cells, by DLA-Count's Table 2: MAE ADI 25.8, MBM 3.2,
        VGG 20.9, DCC 5.4.

    Differs: RGB input with ImageNet's mean and deviation instead of raw grey values; all columns
        are trained together from the start; Gaussians of one deviation per set, where the paper's
        depend on the nearest cells. The authors' code is not public. Two public reimplementations
        both end in a ReLU, which only `mcnn_published` has, and one resizes its target to stride 4,
        which changes the count, where ours is computed at this stride. See `MCNNColumns` and the
        two configs for the recipe.
    """


def _column(
    kernels: Sequence[int], channels: Sequence[int], *, batch_norm: bool, std: float | None
) -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = 3
    for index, (kernel, outputs) in enumerate(zip(kernels, channels, strict=True)):
        convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=not batch_norm)
        if std is None:
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        else:
            nn.init.normal_(convolution.weight, std=std)
        if convolution.bias is not None:
            nn.init.zeros_(convolution.bias)
        layers.append(convolution)
        if batch_norm:
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(nn.ReLU(inplace=True))
        if index < 2:
            layers.append(nn.MaxPool2d(2))
        inputs = outputs
    return nn.Sequential(*layers)

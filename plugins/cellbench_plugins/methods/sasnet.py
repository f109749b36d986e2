"""SASNet: density maps of five scales, blended with weights predicted per image patch."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellbench.errors import PartError
from cellbench.models.batch import Batch
from cellbench.models.density_counter import DensityCounter
from cellbench.models.parts import ConvFactory, Decoder, DensityLoss, DensityOutput, FeatureShape
from cellbench.registry import COUNTERS, DECODERS, LOSSES
from cellbench_plugins.methods._dilated import init_conv_

# Channels of the decoder's maps, finest first.
WIDTHS = (64, 64, 128, 256, 512)
# Channels of the hidden convolution in each step of the decoder, finest first.
HIDDEN = (64, 128, 256, 512, 1024)


@DECODERS.register_module()
class ScaleSelection(Decoder):
    """Decoder of SASNet: a U-shaped decoder with five density maps, blended patch by patch.

    Each of the five levels predicts a density map and, for each patch of `patch_px`, a confidence.
    All maps are upsampled (nearest) to the finest stride and weighted by the softmax over the
    levels of the sigmoid of their confidences. As sigmoids differ by less than one, no level's
    weight is more than e times another's.

    Source: SASNet, Song et al., "To Choose or to Fuse? Scale Selection for Crowd Counting", AAAI
        2021, and the released network.

    Differs: maps are upsampled without aligned corners, so that cells keep their positions; the
        released code aligns them (`upsample_bilinear`). A patch that the image does not fill, at
        its right and bottom, is pooled over the part that the padded map has; the released code
        divides any map into equal parts. New weights are drawn as He et al. do, and each level's
        map starts at `level`; the authors' initialisation is not released.
    """

    ends_in_map = True

    def __init__(
        self,
        in_shapes: Sequence[FeatureShape],
        conv: ConvFactory,
        *,
        patch_px: int = 32,
        level: float = 2.0,
    ) -> None:
        """Build the layers.

        Args:
            in_shapes: shapes of the backbone's maps, finest first: five, each of twice the stride
                of the one before.
            conv: the registered convolution; not used.
            patch_px: edge of the patches, px of the network input; a multiple of every stride.
            level: value of every level's map before training, in units of the network's output.

        Raises:
            PartError: other maps, or patches that are no multiple of the strides.
        """
        super().__init__()
        strides = [shape.stride for shape in in_shapes]
        if strides != [strides[0] * 2**index for index in range(len(WIDTHS))]:
            raise PartError(
                f"ScaleSelection reads {len(WIDTHS)} maps of its backbone, each of twice the "
                f"stride of the one before, not {strides}."
            )
        if patch_px < 1 or patch_px % strides[-1]:
            raise PartError(
                f"patch_px: patches are a multiple of the coarsest stride, {strides[-1]} px, "
                f"not {patch_px}."
            )
        self.cells = [patch_px // stride for stride in strides]
        self.shape = FeatureShape(1, strides[0])
        coarser = (*WIDTHS[1:], 0)  # input channels from the next coarser level
        self.steps = nn.ModuleList(
            _step(shape.channels + below, hidden, width)
            for shape, below, hidden, width in zip(in_shapes, coarser, HIDDEN, WIDTHS, strict=True)
        )
        self.densities = nn.ModuleList(DensityHead(width, level=level) for width in WIDTHS)
        self.confidences = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width // 2, 1), nn.ReLU(inplace=True), nn.Conv2d(width // 2, 1, 1)
            )
            for width in WIDTHS
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        """Compute the blended map, (B, 1, H, W), in units of the network's output, at least 0."""
        maps = self._decode(features)
        height, width = maps[0].shape[-2:]
        densities, confidences = [], []
        for own, cells, density, confidence in zip(
            maps, self.cells, self.densities, self.confidences, strict=True
        ):
            densities.append(_repeat(density(own), height, width))
            pooled = F.avg_pool2d(own, cells, ceil_mode=True, count_include_pad=False)
            confidences.append(confidence(pooled))
        weights = torch.cat(confidences, dim=1).sigmoid().softmax(dim=1)  # (B, 5, rows, columns)
        weights = weights.repeat_interleave(self.cells[0], 2).repeat_interleave(self.cells[0], 3)
        blended = torch.cat(densities, dim=1) * weights[..., :height, :width]
        return blended.sum(dim=1, keepdim=True)

    def _decode(self, features: list[Tensor]) -> list[Tensor]:
        """Compute the decoder's maps, finest first."""
        maps: list[Tensor] = []
        for own, step in zip(reversed(features), reversed(self.steps), strict=True):
            if maps:
                large = F.interpolate(
                    maps[0], size=own.shape[-2:], mode="bilinear", align_corners=False
                )
                own = torch.cat([large, own], dim=1)
            maps.insert(0, step(own))
        return maps


class DensityHead(nn.Module):
    """Density head: a 1x1 convolution on the map and on three branches of different kernels."""

    def __init__(self, channels: int, *, level: float) -> None:
        """Build the branches.

        Args:
            channels: number of input channels.
            level: value of the density before training.
        """
        super().__init__()
        half = channels // 2
        self.branches = nn.ModuleList(
            nn.Sequential(*_normalised(channels, half, 1), *_normalised(half, channels, size))
            for size in (1, 3, 5)
        )
        self.density = nn.Conv2d(4 * channels, 1, 1)
        nn.init.normal_(self.density.weight, std=0.1 * level / (4 * channels) ** 0.5)
        assert self.density.bias is not None  # for the type checker: nn.Conv2d has one
        nn.init.constant_(self.density.bias, level)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to a density (B, 1, H, W), at least 0."""
        seen = torch.cat([*(branch(x) for branch in self.branches), x], dim=1)
        return F.relu(self.density(seen))


def _step(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        init_conv_(nn.Conv2d(inputs, hidden, 3, padding=1), None),
        nn.ReLU(inplace=True),
        init_conv_(nn.Conv2d(hidden, outputs, 3, padding=1), None),
        nn.ReLU(inplace=True),
    )


def _normalised(inputs: int, outputs: int, size: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
    return [
        init_conv_(convolution, None),
        nn.BatchNorm2d(outputs, eps=1e-3),
        nn.ReLU(inplace=True),
    ]


def _repeat(x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, size=(height, width), mode="nearest")


@LOSSES.register_module()
class PyramidRegionLoss(DensityLoss):
    """Squared error, with extra weight in a pyramid of the most overestimated regions.

    The image is divided into quadrants, the most overestimated one into quadrants again, and so on
    down to `least` map cells. The squared error in each region of this path that is overestimated
    is added with `region_weight`. Both terms are averaged over all map cells outside padding; 0 for
    a batch without any.

    Source: the Pyramid Region Awareness loss of SASNet, Song et al., AAAI 2021.

    Differs: an approximation; the paper's formula and weights have not been read, and no training
        code was released.
    """

    def __init__(self, *, region_weight: float = 1.0, least: int = 4) -> None:
        """Set the weights.

        Args:
            region_weight: weight of the squared error in each region of the path; 0 drops the term.
            least: minimum edge of a region, in map cells.

        Raises:
            PartError: a negative weight, or an edge below one.
        """
        super().__init__()
        if region_weight < 0 or least < 1:
            raise PartError(
                f"region_weight is at least 0 and least at least 1, not {region_weight} and "
                f"{least}."
            )
        self.region_weight = region_weight
        self.least = least

    def forward(
        self, output: DensityOutput, target: Tensor, valid: Tensor, batch: Batch
    ) -> dict[str, Tensor]:
        """Compute the terms `loss_density` and, unless its weight is 0, `loss_region`."""
        error = output.scale * torch.where(valid, output.density - target, 0.0)
        squared = error.square()
        cells = valid.sum().clamp_min(1)
        terms = {"loss_density": squared.sum() / cells}
        if self.region_weight:
            times = self.times_in_path(error.detach())
            terms["loss_region"] = self.region_weight * (times * squared).sum() / cells
        return terms

    def times_in_path(self, error: Tensor) -> Tensor:
        """Count the regions of the path that contain each map cell, (B, 1, h, w)."""
        times = torch.zeros_like(error)
        height, width = error.shape[-2:]
        # True in the region that is divided next
        path = torch.ones_like(error, dtype=torch.bool)
        parts = 2
        while min(height, width) >= self.least * parts and not (height % parts or width % parts):
            size = (height // parts, width // parts)
            over = F.avg_pool2d(error, size)  # (B, 1, parts, parts)
            inside = F.max_pool2d(path.float(), size) > 0
            over = over.masked_fill(~inside, float("-inf"))
            best = over.flatten(1).argmax(dim=1)
            chosen = F.one_hot(best, parts * parts).view_as(over) > 0
            path = (chosen & (over > 0)).repeat_interleave(size[0], 2).repeat_interleave(size[1], 3)
            times += path
            parts *= 2
        return times


@COUNTERS.register_module()
class SASNet(DensityCounter):
    """SASNet: density map of stride 1, blended from five scales per image patch.

    Source: Song et al., "To Choose or to Fuse? Scale Selection for Crowd Counting", AAAI 2021.
        Published for cells, by DLA-Count's Table 2: MAE ADI 9.0, MBM 3.9, VGG 4.9, DCC 8.9.

    Differs: only the inference code was released: loss, optimiser and crops are guesses (see
        `PyramidRegionLoss` and the config).
    """

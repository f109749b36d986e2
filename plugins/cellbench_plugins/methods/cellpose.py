"""Cellpose trained on pseudo-masks: discs sized by the spacing of the annotated points."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cellbench.errors import PartError
from cellbench.models.batch import Batch, Images
from cellbench.models.scored import (
    ScoredCounter,
    full_precision,
    original_points,
    scored,
)
from cellbench.registry import COUNTERS
from cellbench.structures import Prediction
from cellbench_plugins._ops.flows import (
    flow_errors,
    flow_targets_of_batch,
    follow_flows,
    masks_from_ends,
)
from cellbench_plugins._ops.pseudo_masks import cell_radii, disc_labels

# The network predicts 5 times the flow, as published.
_FLOW_SCALE = 5.0


@COUNTERS.register_module()
class Cellpose(ScoredCounter):
    """Cellpose trained on pseudo-masks: flow fields towards cell centres, grouped into masks.

    A residual U-Net with a style vector predicts two flow components and the logit of being in a
    cell. Pixels in cells follow the flows; pixels that converge to the same position form a mask. A
    mask counts if its score, the mean probability of its pixels, reaches a threshold that is chosen
    on validation. Its point is the mean of its pixels' end positions.

    Points have no outline, so the pseudo-mask of a cell is a disc, whose radius is `radius_share`
    times the distance to the nearest neighbour, within `least_radius_px` and `most_radius_px`, cut
    where its neighbours are nearer. The source of its heat diffusion is the annotated point.

    Source: Stringer et al., "Cellpose: a generalist algorithm for cellular segmentation", Nature
        Methods 18 (2021), with the loss and the filters of its later releases.

    Differs: three colour channels instead of two, in ImageNet's normalisation instead of
        percentiles. Heat starts at the annotated point, not at the pixel nearest to a mask's
        median (from release 3 on its mean), and flows lead there, so that the pixels' end positions
        locate the cell better than the median of its mask. The releases give masks no score.
        Images are not resized to a diameter of 30 px: a set's `input_scale` determines the input,
        and masks from `least_pixels` on are kept (published: 15). Pixels are used from a
        probability of `pixel_floor` on, so that the score threshold can choose among masks.
        The style is averaged over the image without its padding. Biases of all hidden layers, which
        a later batch-norm would subtract, are left out; only the style would depend on them. So is
        the scale of the batch-norms of projections, which their convolutions have.
        Batch-norm's momentum is 0.1, not 0.05. Pixels follow the flow also outside the predicted
        cells; the releases set it to 0 there. Holes of masks are not filled, and none is
        dropped for covering two fifths of the image. See `_ops/flows.py` for the flows.
    """

    no_export: ClassVar[str] = (
        "its style vector is averaged over the picture without its padding, which the pixels alone "
        "do not show"
    )

    def __init__(
        self,
        *,
        widths: Sequence[int] = (32, 64, 128, 256),
        radius_share: float = 0.5,
        least_radius_px: float = 3.0,
        most_radius_px: float = 12.0,
        pixel_floor: float = 0.4,
        steps: int = 200,
        flow_error: float | None = 0.4,
        least_pixels: int = 8,
        threshold: float = 0.5,
        channels_last: bool = True,
    ) -> None:
        """Build the net.

        Args:
            widths: channels of the levels, finest first.
            radius_share: radius of a pseudo-disc per distance to the nearest neighbour.
            least_radius_px: smallest radius, px of the original image.
            most_radius_px: largest radius, px of the original image.
            pixel_floor: minimum probability of a pixel that follows the flow, in (0, 1).
            steps: maximum number of steps that pixels follow the flow.
            flow_error: largest mean squared difference of a mask's predicted flow from the flow of
                its shape; other masks are dropped. None keeps all.
            least_pixels: minimum size of a mask, px of the input.
            threshold: lowest score that counts, until `calibrate` chooses one.
            channels_last: memory format of images and weights.

        Raises:
            PartError: an invalid range of radii, or a floor outside (0, 1).
        """
        super().__init__(
            threshold=threshold,
            size_multiple=2 ** (len(widths) - 1),
            channels_last=channels_last,
        )
        if not 0 < least_radius_px <= most_radius_px:
            raise PartError(
                f"model.least_radius_px: discs have radii from {least_radius_px} to "
                f"{most_radius_px} px, which is no range of positive lengths; give the smaller "
                "first."
            )
        if not 0 < pixel_floor < 1:
            raise PartError(
                f"model.pixel_floor: a probability between 0 and 1 is wanted, not {pixel_floor}."
            )
        self.radius_share = radius_share
        self.radius_range_px = (least_radius_px, most_radius_px)
        self.least_logit = math.log(pixel_floor / (1 - pixel_floor))
        self.steps = steps
        self.flow_error = flow_error
        self.least_pixels = least_pixels
        self.net = FlowNet(widths)
        if channels_last:
            self.to(memory_format=torch.channels_last)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Compute half the squared error of the scaled flows, and the pixels' cross-entropy."""
        output = self.net(batch.images.pixels, batch.images.sizes)
        with full_precision(output.device):
            flow, logits = output[:, :2].float(), output[:, 2].float()
            height, width = logits.shape[1:]
            wanted, labels = self.targets(batch.points, (width, height), batch.images.scale)
            cells = labels > 0
            valid = _valid(batch.images, logits)
            pixels = valid.sum()
            squared = (flow - _FLOW_SCALE * wanted).square().mean(1)
            entropy = F.binary_cross_entropy_with_logits(logits, cells.float(), reduction="none")
            return {
                "loss_flow": 0.5 * (squared * valid).sum() / pixels,
                "loss_cell": (entropy * valid).sum() / pixels,
            }

    @torch.no_grad()
    def targets(
        self, points: Sequence[Tensor], size: tuple[int, int], scale: float
    ) -> tuple[Tensor, Tensor]:
        """Compute the target flows and labels of images of one size.

        Args:
            points: per image (A, 2) float, (x, y) px of the network input.
            size: (width, height) px of the network input.
            scale: input px per px of the original image.

        Returns:
            (B, 2, h, w) flow of unit length, 0 outside of cells; (B, h, w) int64 labels of the
            cells.
        """
        least, most = (radius * scale for radius in self.radius_range_px)
        labels, sources, steps = [], [], []
        for own in points:
            radii = cell_radii(own, share=self.radius_share, least_px=least, most_px=most)
            labels.append(disc_labels(own, radii, size=size))
            sources.append(own.floor().long().flip(1))
            steps.append(2 * (2 * math.ceil(float(radii.max())) + 1) if len(radii) else 0)
        together = torch.stack(labels)
        return flow_targets_of_batch(together, sources, steps=steps), together

    @torch.no_grad()
    def infer(self, images: Images) -> list[Prediction]:
        """Predict points and scores of all masks per image, in the order of `masks_from_ends`."""
        output = self.net(images.pixels, images.sizes)
        with full_precision(output.device):
            logits = output[:, 2].float()
            taken = _valid(images, logits) & (logits >= self.least_logit)
            flows = output[:, :2].float() / _FLOW_SCALE
            predictions = []
            for row, size in enumerate(images.sizes.tolist()):
                points, scores = self._masks(flows[row], logits[row], taken[row], size)
                predictions.append(
                    scored(original_points(points, images, row), scores.cpu().numpy())
                )
        return predictions

    def _masks(
        self, flow: Tensor, logits: Tensor, taken: Tensor, size: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Find the masks of an image; return points (N, 2), px of the input, and scores (N,)."""
        width, height = size
        flow = flow[:, :height, :width]
        starts = taken[:height, :width].nonzero()
        ends = follow_flows(flow, starts, steps=self.steps)
        mask = masks_from_ends(ends, starts, (width, height))
        number = int(mask.max()) if len(mask) else 0
        pixels = torch.bincount(mask, minlength=number + 1)
        at = (starts[:, 0], starts[:, 1])
        mean_scores = _means(logits[at].sigmoid()[:, None], mask, pixels)[:, 0]
        middles = _means(ends, mask, pixels)
        kept = pixels[1:] >= self.least_pixels
        if self.flow_error is not None and number:
            labels = torch.zeros(height, width, dtype=torch.int64, device=flow.device)
            labels[at] = mask
            sources = middles.flip(1).round().long()
            widest = int((pixels[1:].max() / math.pi) ** 0.5) + 1
            steps = 2 * (2 * widest + 1)
            kept &= flow_errors(labels, flow, sources, steps=steps) <= self.flow_error
        return middles[kept] + 0.5, mean_scores[kept]


class FlowNet(nn.Module):
    """Residual U-Net of Cellpose, with a style vector as input of every decoder level.

    Units are batch-norm, ReLU and a 3x3 convolution. An encoder level is two residual pairs of
    them; the style, the unit-length mean of the deepest map, is added to three of the four units of
    each decoder level; skips are added and upsampling is nearest.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        """Build the network; `widths` are the channels of the levels, finest first."""
        super().__init__()
        style = widths[-1]
        befores = [3, *widths[:-1]]
        self.down = nn.ModuleList(
            _Down(before, after) for before, after in zip(befores, widths, strict=True)
        )
        self.up = nn.ModuleList(
            _Up(coarse, fine, style)
            for coarse, fine in zip((widths[-1], *widths[:0:-1]), widths[::-1], strict=True)
        )
        self.head = nn.Sequential(nn.BatchNorm2d(widths[0]), nn.ReLU(), nn.Conv2d(widths[0], 3, 1))

    def forward(self, images: Tensor, sizes: Tensor) -> Tensor:
        """Predict (B, 3, H, W): flow x and y, both times 5, and the logit of being in a cell.

        Args:
            images: (B, 3, H, W), sides a multiple of the coarsest stride.
            sizes: (B, 2), (width, height) px without the padding.
        """
        skips = []
        features = images
        for index, level in enumerate(self.down):
            features = level(F.max_pool2d(features, 2) if index else features)
            skips.append(features)
        style = _style(features, sizes, stride=2 ** (len(self.down) - 1))
        for index, level in enumerate(self.up):
            if index:
                features = F.interpolate(features, scale_factor=2.0, mode="nearest")
            features = level(features, skips.pop(), style)
        output: Tensor = self.head(features)
        return output


class _Down(nn.Module):
    """Two residual pairs of units; the first one changes the number of channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.project = _projection(inputs, outputs)
        self.first = nn.Sequential(_unit(inputs, outputs), _unit(outputs, outputs))
        self.second = nn.Sequential(_unit(outputs, outputs), _unit(outputs, outputs))

    def forward(self, features: Tensor) -> Tensor:
        features = self.project(features) + self.first(features)
        refined: Tensor = features + self.second(features)
        return refined


class _Up(nn.Module):
    """Two residual pairs of units, with additive skip and style."""

    def __init__(self, inputs: int, outputs: int, style: int) -> None:
        super().__init__()
        self.project = _projection(inputs, outputs)
        self.units = nn.ModuleList(
            _unit(inputs if index == 0 else outputs, outputs) for index in range(4)
        )
        self.styles = nn.ModuleList(nn.Linear(style, outputs, bias=False) for _ in range(3))

    def forward(self, features: Tensor, skip: Tensor, style: Tensor) -> Tensor:
        styles = [layer(style)[:, :, None, None] for layer in self.styles]
        opened = self.units[0](features) + skip
        features = self.project(features) + self.units[1](opened + styles[0])
        inner = self.units[2](features + styles[1])
        refined: Tensor = features + self.units[3](inner + styles[2])
        return refined


def _unit(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    )


def _projection(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(inputs, affine=False), nn.Conv2d(inputs, outputs, 1, bias=False)
    )


def _style(features: Tensor, sizes: Tensor, *, stride: int) -> Tensor:
    """Compute the style, (B, C) unit vectors: the mean of each map inside its image."""
    y = torch.arange(features.shape[2], device=features.device) * stride
    x = torch.arange(features.shape[3], device=features.device) * stride
    inside = (y[:, None] < sizes[:, 1, None, None]) & (x < sizes[:, 0, None, None])
    weight = inside[:, None].to(features.dtype)
    mean = (features * weight).sum((2, 3)) / weight.sum((2, 3))
    return F.normalize(mean)


def _valid(images: Images, output: Tensor) -> Tensor:
    """Compute the mask of pixels inside their image, (B, H, W) bool."""
    y = torch.arange(output.shape[-2], device=output.device)
    x = torch.arange(output.shape[-1], device=output.device)
    sizes = images.sizes
    return (y[:, None] < sizes[:, 1, None, None]) & (x < sizes[:, 0, None, None])


def _means(values: Tensor, mask: Tensor, pixels: Tensor) -> Tensor:
    """Compute the means of (P, C) values over the pixels of each mask, (N, C)."""
    total = values.new_zeros(len(pixels), values.shape[1]).index_add_(0, mask, values)
    return (total / pixels.clamp_min(1)[:, None])[1:]

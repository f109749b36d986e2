"""Faster R-CNN trained on pseudo-boxes: squares sized by the spacing of the annotated points."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

from cellbench.errors import PartError
from cellbench.models.batch import Batch, Images
from cellbench.models.parts import Backbone
from cellbench.models.scored import (
    ScoredCounter,
    full_precision,
    original_points,
    scored,
)
from cellbench.registry import BACKBONES, COUNTERS, PartRegistry
from cellbench.structures import Prediction
from cellbench_plugins._ops.pseudo_masks import cell_radii

# Weights of the four box offsets in the second stage, as published.
_BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


@COUNTERS.register_module()
class FasterRCNN(ScoredCounter):
    """Faster R-CNN trained on pseudo-boxes: a two-stage box detector with a feature pyramid.

    Points have no extent, so the box of a cell is a square around its point whose side is
    `box_share` times the distance to the nearest neighbour, within `least_box_px` and
    `most_box_px`, cut at the border of the image. Each level of the feature pyramid has square
    anchors of its own sizes. The point of a cell is the centre of its detection; for a detection
    cut by the border, the centre of the completed square. The score is the second stage's
    probability, and the score threshold is chosen on validation.

    Source: Ren et al., "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal
        Networks", arXiv:1506.01497; Lin et al., "Feature Pyramid Networks for Object Detection",
        arXiv:1612.03144. The two stages are torchvision's.

    Differs: anchors are squares, as the boxes are; their sizes are given per data set, and they lie
        at the centres of the map's cells, torchvision's at the upper left corners. An anchor is a
        positive from an overlap of `anchor_overlap` on (0.5; published 0.7, which boxes of a few
        pixels rarely reach on a lattice of 4 px). The caps of 100 detections per image, which alone
        would bound the error from below, and of 1000 proposals are raised to `most_detections`;
        scores are cut at 0.02 (0.05) before the threshold is chosen, and of detections that overlap
        by 0.4 (0.5) one is kept. Per training image `samples` anchors and proposals are sampled
        (64; published 256 and 512) out of at most four times as many proposals (2000). The pyramid
        has only the levels of the trunk and no pool after them. Images are not resized to 800 px: a
        set's `input_scale` determines the input.
    """

    parts: ClassVar[Mapping[str, PartRegistry]] = {"backbone": BACKBONES}
    no_export: ClassVar[str] = (
        "its second stage sees a list of boxes that the first one suppresses picture by picture, "
        "and not maps of a fixed form"
    )

    def __init__(
        self,
        *,
        backbone: Backbone,
        channels: int = 128,
        hidden: int = 512,
        roi_cells: int = 7,
        anchors_px: Sequence[Sequence[float]] = ((8.0, 16.0),),
        box_share: float = 0.9,
        least_box_px: float = 4.0,
        most_box_px: float = 32.0,
        anchor_overlap: float = 0.5,
        overlap: float = 0.4,
        most_detections: int = 4000,
        samples: int = 64,
        threshold: float = 0.5,
        score_floor: float = 0.02,
        size_multiple: int = 32,
        channels_last: bool = True,
    ) -> None:
        """Build both stages on a trunk.

        Args:
            backbone: trunk with one map per level.
            channels: number of channels of the pyramid.
            hidden: width of the second stage's two layers.
            roi_cells: edge of the grid to which a proposal is pooled.
            anchors_px: per level of the trunk, finest first, the sides of its anchors in px of
                the original image.
            box_share: side of a pseudo-box per distance to the nearest neighbour.
            least_box_px: smallest side, px of the original image.
            most_box_px: largest side, px of the original image.
            anchor_overlap: intersection over union from which an anchor or a proposal is positive.
            overlap: intersection over union above which the weaker of two detections is dropped.
            most_detections: maximum number of proposals and of detections per image; it has to
                exceed the largest count.
            samples: anchors and proposals per training image that enter the loss.
            threshold: lowest score that counts, until `calibrate` chooses one.
            score_floor: detections below it are dropped; no lower threshold can be chosen.
            size_multiple: inputs are padded to a multiple of this, px.
            channels_last: memory format of images and weights.

        Raises:
            PartError: the anchors do not fit the trunk, or an invalid range of box sizes.
        """
        super().__init__(
            threshold=threshold, size_multiple=size_multiple, channels_last=channels_last
        )
        if len(anchors_px) != len(backbone.shapes) or not all(anchors_px):
            strides = [shape.stride for shape in backbone.shapes]
            raise PartError(
                f"model.anchors_px: the backbone gives {len(strides)} maps (strides {strides}), "
                f"each of which needs a list of anchor sides, not {list(anchors_px)}."
            )
        if not 0 < least_box_px <= most_box_px:
            raise PartError(
                f"model.least_box_px: boxes have sides from {least_box_px} to {most_box_px} px, "
                "which is no range of positive lengths; give the smaller first."
            )
        self.box_share = box_share
        self.box_range_px = (least_box_px, most_box_px)
        self.backbone = backbone
        levels = [str(index) for index in range(len(backbone.shapes))]
        self.pyramid = FeaturePyramidNetwork([s.channels for s in backbone.shapes], channels)
        per_cell = {len(sides) for sides in anchors_px}
        if len(per_cell) > 1:
            raise PartError(
                f"model.anchors_px: every map has the same number of anchors, not {anchors_px}."
            )
        caps = {"training": 4 * samples, "testing": most_detections}
        self.proposer = RegionProposalNetwork(
            SquareAnchors([shape.stride for shape in backbone.shapes], anchors_px),
            RPNHead(channels, per_cell.pop()),
            fg_iou_thresh=anchor_overlap,
            bg_iou_thresh=min(0.3, anchor_overlap),
            batch_size_per_image=samples,
            positive_fraction=0.5,
            pre_nms_top_n={name: 2 * cap for name, cap in caps.items()},
            post_nms_top_n=caps,
            nms_thresh=0.7,
        )
        self.judge = RoIHeads(
            MultiScaleRoIAlign(levels, output_size=roi_cells, sampling_ratio=2),
            TwoMLPHead(channels * roi_cells**2, hidden),
            FastRCNNPredictor(hidden, 2),
            fg_iou_thresh=anchor_overlap,
            bg_iou_thresh=anchor_overlap,
            batch_size_per_image=samples,
            positive_fraction=0.25,
            bbox_reg_weights=_BOX_WEIGHTS,
            score_thresh=score_floor,
            nms_thresh=overlap,
            detections_per_img=most_detections,
        )
        if channels_last:
            self.to(memory_format=torch.channels_last)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the score and box losses of both stages, with unit weights."""
        targets = [
            {"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.int64).to(boxes.device)}
            for boxes in (
                self.pseudo_boxes(points, batch.images.scale, size)
                for points, size in zip(batch.points, batch.images.sizes, strict=True)
            )
        ]
        maps = self._maps(batch.images)
        with full_precision(batch.images.pixels.device):
            pictures = _Pictures(batch.images)
            boxes, first = self.proposer(pictures, maps, targets)
            _, second = self.judge(maps, boxes, pictures.image_sizes, targets)
        return {
            "loss_objectness": first["loss_objectness"],
            "loss_anchor": first["loss_rpn_box_reg"],
            "loss_score": second["loss_classifier"],
            "loss_box": second["loss_box_reg"],
        }

    def pseudo_boxes(self, points: Tensor, scale: float, size: Tensor) -> Tensor:
        """Compute squares around points, clipped to the image.

        The stages clip their proposals at the border: a box beyond it may have no proposal of
        sufficient overlap, and its cell would be learned as background.

        Args:
            points: (A, 2) float, (x, y) px of the network input.
            scale: input px per px of the original image.
            size: (2,), width and height of the image, px of the network input.

        Returns:
            (A, 4) float, (left, top, right, bottom) px of the network input.
        """
        least, most = (0.5 * side * scale for side in self.box_range_px)
        half = cell_radii(points, share=0.5 * self.box_share, least_px=least, most_px=most)[:, None]
        return torch.cat([(points - half).clamp(min=0), torch.minimum(points + half, size)], dim=1)

    @torch.no_grad()
    def infer(self, images: Images) -> list[Prediction]:
        """Predict all detections above the score floor per image, best first."""
        maps = self._maps(images)
        with full_precision(images.pixels.device):
            pictures = _Pictures(images)
            boxes, _ = self.proposer(pictures, maps)
            found, _ = self.judge(maps, boxes, pictures.image_sizes)
        predictions = []
        for row, one in enumerate(found):
            centres = centres_of_squares(one["boxes"], images.sizes[row])
            points = original_points(centres, images, row)
            predictions.append(scored(points, one["scores"].cpu().numpy()))
        return predictions

    def _maps(self, images: Images) -> dict[str, Tensor]:
        """Compute the pyramid's levels by name, float32, finest first."""
        maps = {str(index): m for index, m in enumerate(self.backbone(images.pixels))}
        return {name: m.float() for name, m in self.pyramid(maps).items()}


def centres_of_squares(boxes: Tensor, size: Tensor) -> Tensor:
    """Compute the centres of squares that the border of an image may have cut.

    Along an axis on which a box touches one border, it is completed to the length of the other
    axis, measured from its inner end.

    Args:
        boxes: (A, 4) float, (left, top, right, bottom) px, inside the image.
        size: (2,), width and height of the image, px.

    Returns:
        (A, 2) float, (x, y) px, inside the image.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    half = 0.5 * (high - low).amax(dim=1, keepdim=True)
    middle = 0.5 * (low + high)
    # Predicted boxes inside the image are not exact squares, so only cut boxes are completed; for
    # those cut at both ends the middle is the best estimate.
    cut_low, cut_high = low <= 0, high >= size
    centres = torch.where(cut_low & ~cut_high, torch.minimum(high - half, middle), middle)
    centres = torch.where(cut_high & ~cut_low, torch.maximum(low + half, middle), centres)
    return torch.minimum(centres.clamp(min=0), size.to(centres.dtype))


class SquareAnchors(nn.Module):
    """Anchor generator: square boxes around the centre of each map cell of each level."""

    def __init__(self, strides: Sequence[int], sides_px: Sequence[Sequence[float]]) -> None:
        """Set the sides.

        Args:
            strides: strides of the levels, px of the network input.
            sides_px: sides of the anchors per level, px of the original image.
        """
        super().__init__()
        self.strides = tuple(strides)
        self.sides_px = tuple(tuple(float(side) for side in sides) for sides in sides_px)

    def num_anchors_per_location(self) -> list[int]:
        """Return the number of anchors per map cell of each level."""
        return [len(sides) for sides in self.sides_px]

    def forward(self, pictures: "_Pictures", maps: list[Tensor]) -> list[Tensor]:
        """Return the anchors of each image, (anchors, 4), by level, row, column and side."""
        levels = []
        for stride, sides, level in zip(self.strides, self.sides_px, maps, strict=True):
            rows, columns = (
                (torch.arange(n, device=level.device) + 0.5) * stride for n in level.shape[-2:]
            )
            y, x = torch.meshgrid(rows, columns, indexing="ij")
            half = 0.5 * pictures.scale * torch.tensor(sides, device=level.device)
            corners = torch.stack([-half, -half, half, half], dim=1)  # (sides, 4)
            centres = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
            levels.append((centres + corners).reshape(-1, 4))
        anchors = torch.cat(levels)
        return [anchors for _ in pictures.image_sizes]


class _Pictures(ImageList):
    """Batch in the form of torchvision's stages, with its scale."""

    def __init__(self, images: Images) -> None:
        sizes = [(int(height), int(width)) for width, height in images.sizes.tolist()]
        super().__init__(images.pixels, sizes)
        self.scale = images.scale

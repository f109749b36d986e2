"""Faster R-CNN on boxes that are guessed from the spacing of the annotated points."""

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
    """Detects cells as boxes in two stages: proposals of a small network, then their verdicts.

    Points carry no extent, so a box is a square around its point whose side is `box_share` times
    the distance to the nearest neighbour, within `least_box_px` and `most_box_px`, cut at the
    border of the image. A feature pyramid joins the trunk's maps; each of its levels has square
    anchors of its own sizes. The centre of a detection is the cell's point, of one that the border
    cuts that of the square which it is a part of; its score is the verdict's probability, and the
    least that counts is chosen on validation.

    Source: Ren et al., "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal
        Networks", arXiv:1506.01497; Lin et al., "Feature Pyramid Networks for Object Detection",
        arXiv:1612.03144. The two stages are torchvision's.

    Differs: anchors are squares, since the boxes are; their sizes are stated per data set, and they
        stand at the middles of the map's cells, torchvision's at the upper left corners. An anchor
        is a positive from an overlap of `anchor_overlap` on (0.5; published 0.7, which boxes of a
        few pixels rarely reach on a lattice of 4 px). The caps of 100 detections an image, which
        alone would floor the error, and of 1000 proposals are lifted to `most_detections`; scores
        are cut at 0.02 (0.05) before the threshold is chosen, and of detections that overlap by 0.4
        (0.5) one stays. Of a training image `samples` anchors and proposals are judged (64;
        published 256 and 512) out of at most four times as many proposals (2000). The pyramid has
        the levels of the trunk alone and no pool behind them. Images are not resized to 800 px: a
        set's `input_scale` says what the network sees.
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
        """Put the two stages on a trunk.

        Args:
            backbone: images to maps, one a level.
            channels: of the pyramid.
            hidden: width of the second stage's two layers.
            roi_cells: edge of the grid that a proposal is read on.
            anchors_px: per level of the trunk, finest first, the sides of its anchors in px of
                the original image.
            box_share: side of a pseudo-box per distance to the nearest neighbour.
            least_box_px: least side, px of the original image.
            most_box_px: most side, px of the original image.
            anchor_overlap: intersection over union from which an anchor or a proposal is a cell.
            overlap: of two detections that overlap more, the better one stays.
            most_detections: proposals and detections of an image; more than the densest holds.
            samples: anchors and proposals of a training image that are judged.
            threshold: lowest score that counts, until `calibrate` chooses one.
            score_floor: detections below it are dropped; no lower threshold can be chosen.
            size_multiple: inputs are padded to a multiple of this, px.
            channels_last: memory format of images and weights.

        Raises:
            PartError: the anchors do not fit the trunk, or the sizes of boxes are no range.
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
        """Scores and boxes of both stages, with unit weights."""
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
        """What lies inside the image of squares around points.

        The stages cut their proposals at the border: a cell whose box reached over it had none
        that overlapped enough, and was learned as ground.

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
        """Per image all detections above the floor, best first."""
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
        """The pyramid's levels by name, float32, finest first."""
        maps = {str(index): m for index, m in enumerate(self.backbone(images.pixels))}
        return {name: m.float() for name, m in self.pyramid(maps).items()}


def centres_of_squares(boxes: Tensor, size: Tensor) -> Tensor:
    """The centres of squares of which the border of an image may have cut a part.

    A box that ends at the border along one axis is as wide as it is high, seen from its other end.

    Args:
        boxes: (A, 4) float, (left, top, right, bottom) px, inside the image.
        size: (2,), width and height of the image, px.

    Returns:
        (A, 2) float, (x, y) px, inside the image.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    half = 0.5 * (high - low).amax(dim=1, keepdim=True)
    middle = 0.5 * (low + high)
    # A box that the image holds is no exact square either: only what is cut is completed, and of
    # what is cut at both ends nothing tells more than the middle.
    cut_low, cut_high = low <= 0, high >= size
    centres = torch.where(cut_low & ~cut_high, torch.minimum(high - half, middle), middle)
    centres = torch.where(cut_high & ~cut_low, torch.maximum(low + half, middle), centres)
    return torch.minimum(centres.clamp(min=0), size.to(centres.dtype))


class SquareAnchors(nn.Module):
    """Square boxes of set sides around the centre of each cell of each level."""

    def __init__(self, strides: Sequence[int], sides_px: Sequence[Sequence[float]]) -> None:
        """Remember the sides.

        Args:
            strides: of the levels, px of the network input.
            sides_px: per level, px of the original image.
        """
        super().__init__()
        self.strides = tuple(strides)
        self.sides_px = tuple(tuple(float(side) for side in sides) for sides in sides_px)

    def num_anchors_per_location(self) -> list[int]:
        """How many anchors a cell of each level has."""
        return [len(sides) for sides in self.sides_px]

    def forward(self, pictures: "_Pictures", maps: list[Tensor]) -> list[Tensor]:
        """Per image (anchors, 4): level by level, in each by row, column and side."""
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
    """What torchvision's stages want to know of a batch, and its scale."""

    def __init__(self, images: Images) -> None:
        sizes = [(int(height), int(width)) for width, height in images.sizes.tolist()]
        super().__init__(images.pixels, sizes)
        self.scale = images.scale

"""Point head: reference points on a lattice, each with an offset and a score."""

import math
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cellbench.errors import PartError
from cellbench.models.parts import FeatureShape, Head, Proposals
from cellbench.registry import HEADS
from cellbench_plugins._ops.lattice import lattice


@HEADS.register_module()
class PointHead(Head):
    """Point head: an offset and a score for each reference point of a lattice.

    A map of stride s has (s / spacing_px)^2 reference points per map cell, at the centres of
    squares of `spacing_px`. A proposal is reference + offset_scale_px * (predicted offset),
    unbounded; its score is the sigmoid of one logit, which is the difference of the two logits of
    a softmax over (cell, background). Proposals are in reading order of their references.

    Source: P2PNet, arXiv:2107.12746, section 3.

    Differs: P2PNet has two separate towers of two 3x3 convolutions without normalisation, offsets
        scaled by 100 and PyTorch's initial weights (towers="separate", depth=2, norm="none",
        offset_scale_px=100, prior=None). Here one tower with batch-norm serves both outputs, the
        initial offsets are almost zero and the initial scores almost `prior`, so that the first
        matches are the nearest references and do not depend on random weights. The difference
        of P2PNet's two logits starts sqrt(2) times as wide, and moves twice as fast under Adam.
    """

    point_modules = ("offset_tower", "offsets")

    def __init__(
        self,
        in_shape: FeatureShape,
        *,
        spacing_px: float = 4.0,
        offset_scale_px: float = 8.0,
        channels: int = 128,
        depth: int = 1,
        towers: Literal["shared", "separate"] = "shared",
        norm: Literal["batch", "none"] = "batch",
        dropout: float = 0.0,
        prior: float | None = 0.1,
    ) -> None:
        """Build the towers.

        Args:
            in_shape: shape of the fused map.
            spacing_px: distance of neighbouring references in px of the network input; divides
                the stride.
            offset_scale_px: offset in px for a network output of 1.
            channels: number of hidden channels.
            depth: number of 3x3 convolutions in a tower.
            towers: one tower for scores and offsets, or one each.
            norm: normalisation after each hidden convolution.
            dropout: share of hidden channels dropped in training, after each tower.
            prior: score of every proposal before training, in (0, 1); about the share of
                references that are cells. None keeps PyTorch's initial weights.

        Raises:
            PartError: the spacing does not divide the stride, or a value is out of range.
        """
        super().__init__()
        per_side = round(in_shape.stride / spacing_px) if spacing_px > 0 else 0
        if per_side < 1 or not math.isclose(per_side * spacing_px, in_shape.stride):
            raise PartError(
                f"spacing_px: the map's stride of {in_shape.stride} px must be a multiple of the "
                f"spacing of references, which {spacing_px} px is not; try {in_shape.stride}."
            )
        if prior is not None and not 0 < prior < 1:
            raise PartError(f"prior: a score between 0 and 1 is wanted here, not {prior}.")
        if depth < 1 or channels < 1:
            raise PartError(
                f"depth and channels: at least 1 is wanted here, not {depth} and {channels}."
            )
        self.spacing_px = float(spacing_px)
        self.offset_scale_px = float(offset_scale_px)
        self.per_side = per_side
        tower = partial(
            _tower, in_shape.channels, channels, depth=depth, norm=norm, dropout=dropout
        )
        self.tower = tower()
        self.offset_tower = tower() if towers == "separate" else None
        self.scores = nn.Conv2d(channels, per_side**2, 3, padding=1)
        self.offsets = nn.Conv2d(channels, 2 * per_side**2, 3, padding=1)
        if prior is not None:
            for layer, bias in ((self.scores, math.log(prior / (1 - prior))), (self.offsets, 0.0)):
                assert layer.bias is not None  # for the type checker: nn.Conv2d has one
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.constant_(layer.bias, bias)

    def forward(self, features: Tensor) -> Proposals:
        """Return (H * s / spacing) * (W * s / spacing) proposals per image.

        Args:
            features: (B, C, H, W) fused map.
        """
        hidden = self.tower(features)
        if self.offset_tower is not None:
            scores, moves = self.scores(hidden), self.offsets(self.offset_tower(features))
        else:
            # One convolution for both: with few output channels, reading the input dominates.
            both = (self.scores, self.offsets)
            weight = torch.cat([conv.weight for conv in both])
            bias = torch.cat([conv.bias for conv in both if conv.bias is not None])
            answers = F.conv2d(hidden, weight, bias, padding=self.scores.padding)
            scores, moves = answers.split([conv.out_channels for conv in both], dim=1)
        # scores (B, s^2, H, W) and moves (B, 2 s^2, H, W) of s x s references per map cell, cast
        # to float32 before px are added: bfloat16 cannot represent both 300 and 301
        logits = F.pixel_shuffle(scores.float(), self.per_side)  # (B, 1, h, w)
        moves = F.pixel_shuffle(moves.float(), self.per_side)  # (B, 2, h, w)
        references = lattice((logits.shape[2], logits.shape[3]), self.spacing_px, logits.device)
        points = references + self.offset_scale_px * moves.flatten(2).transpose(
            1, 2
        )  # (B, h * w, 2)
        return Proposals(points, logits.flatten(1), references, self.spacing_px)


def _tower(
    inputs: int, channels: int, *, depth: int, norm: Literal["batch", "none"], dropout: float
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(depth):
        width = inputs if index == 0 else channels
        layers.append(nn.Conv2d(width, channels, 3, padding=1, bias=norm == "none"))
        if norm == "batch":
            layers.append(nn.BatchNorm2d(channels))
        layers.append(nn.ReLU(inplace=True))
    if dropout:
        layers.append(nn.Dropout2d(dropout))
    return nn.Sequential(*layers)

"""Weighted cross-entropy of proposals and distance of matched points."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from cellbench.errors import PartError
from cellbench.models.parts import Pairs, ProposalLoss, Proposals
from cellbench.registry import LOSSES


@LOSSES.register_module()
class PointLoss(ProposalLoss):
    """Weighted cross-entropy of the scores, and distance of matched points to their cells.

    `loss_score` is the weighted mean of the binary cross-entropies of all proposals of the batch
    whose reference lies in an image; the weight is 1 for a matched proposal and
    `background_weight` for an unmatched one. `loss_point` is the sum over matched pairs of the
    distances in x and y, in units of the references' spacing, divided by the number of matched
    pairs of the batch. Thus neither grows with the batch, the crop or the resolution. Both are 0
    where there is nothing to average.

    Source: P2PNet, arXiv:2107.12746, Eq. 5 to 7.

    Differs: P2PNet squares distances in px and weights them by 2e-4; with its spacing of 4 px
        that is norm="l2" and point_weight=2e-4 * 4**2 = 0.0032. Its released code, and that of
        DLA-Count, read the point term under a wrong name and so never train it: that is
        point_weight=0. The cross-entropy of a softmax over two logits is the binary one of their
        difference, and its divisor that of their code, which trains proposals in padding too.
    """

    def __init__(
        self,
        *,
        score_weight: float = 1.0,
        point_weight: float = 0.4,
        background_weight: float = 0.5,
        norm: Literal["l2", "smooth_l1"] = "smooth_l1",
        beta: float = 0.25,
    ) -> None:
        """Set the weights.

        Args:
            score_weight: weight of the cross-entropy.
            point_weight: weight of the distance; 0 drops the term, and offsets are not trained.
            background_weight: weight of an unmatched proposal, relative to a matched one.
            norm: "l2" squares distances; "smooth_l1" is quadratic below `beta`, linear above.
            beta: threshold of "smooth_l1", in spacings.

        Raises:
            PartError: a negative weight, or a beta that is not positive.
        """
        super().__init__()
        weights = (score_weight, point_weight, background_weight)
        if min(weights) < 0 or beta <= 0:
            raise PartError(
                "score_weight, point_weight and background_weight are at least 0 and beta is more "
                f"than 0, not {weights} and {beta}."
            )
        self.score_weight = score_weight
        self.point_weight = point_weight
        self.background_weight = background_weight
        self.norm = norm
        self.beta = beta
        self.trains_points = point_weight > 0

    def forward(self, proposals: Proposals, pairs: Pairs, valid: Tensor) -> dict[str, Tensor]:
        """Compute the weighted terms `loss_score` and, unless its weight is 0, `loss_point`."""
        matched = torch.zeros_like(proposals.logits)
        matched[pairs.image, pairs.row] = 1.0
        weights = torch.where(matched > 0, 1.0, self.background_weight) * valid
        entropy = F.binary_cross_entropy_with_logits(proposals.logits, matched, reduction="none")
        # where() and not a product alone: a proposal in padding may hold any value, even NaN
        total = torch.where(valid, entropy * weights, 0.0).sum()
        smallest = torch.finfo(weights.dtype).tiny
        terms = {"loss_score": self.score_weight * total / weights.sum().clamp_min(smallest)}
        if self.trains_points:
            away = proposals.points[pairs.image, pairs.row] - pairs.cell  # (M, 2)
            away = away / proposals.spacing_px
            if self.norm == "l2":
                distance = away.square().sum()
            else:
                zero = torch.zeros_like(away)
                distance = F.smooth_l1_loss(away, zero, beta=self.beta, reduction="sum")
            terms["loss_point"] = self.point_weight * distance / max(len(pairs), 1)
        return terms

"""A matcher and a whole method from outside, registered as any third party would."""

from typing import Any

import torch
from torch import Tensor

from cellbench.models.batch import Batch, Images
from cellbench.models.counter import CellCounter
from cellbench.models.parts import Matcher
from cellbench.registry import COUNTERS, MATCHERS
from cellbench.structures import Prediction


@MATCHERS.register_module()
class GreedyNearest(Matcher):
    """Takes the closest free pair again and again.

    Source: a toy of the cellbench tests.
    """

    def __init__(self, *, score_weight: float = 1.0) -> None:
        self.score_weight = score_weight

    def match(
        self, proposals: Tensor, scores: Tensor, cells: Tensor, *, scale: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Pair cells with proposals, the cheapest pair first."""
        rows, columns = [], []
        if len(proposals) and len(cells):
            cost = torch.cdist(proposals, cells) / scale - self.score_weight * scores[:, None]
            for _ in range(min(cost.shape)):
                row, column = divmod(int(cost.argmin()), cost.shape[1])
                cost[row], cost[:, column] = torch.inf, torch.inf
                rows.append(row)
                columns.append(column)
        device = proposals.device
        return torch.tensor(rows, dtype=torch.int64, device=device), torch.tensor(
            columns, dtype=torch.int64, device=device
        )


@COUNTERS.register_module()
class TrainingMean(CellCounter):
    """Always says the mean count of the training images; trained without a step.

    Source: a toy of the cellbench tests.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean_count", torch.zeros((), dtype=torch.float64))

    def fit(self, train: Any, validation: Any) -> bool:
        """Average the annotated counts."""
        counts = [train.stored.sample(image_id).count for image_id in train.ids]
        self.mean_count.fill_(sum(counts) / len(counts))
        return True

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Nothing is trained by steps."""
        raise NotImplementedError("TrainingMean has no loss")

    def infer(self, images: Images) -> list[Prediction]:
        """The same count for every image; no points."""
        return [Prediction(count=float(self.mean_count)) for _ in images.image_ids]

"""A matcher from outside, registered as any third party would."""

import torch
from torch import Tensor

from cellbench.models.parts import Matcher
from cellbench.registry import MATCHERS


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

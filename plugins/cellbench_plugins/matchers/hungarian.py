"""Matching by distance and score over the whole image."""

import numpy as np
from numpy.typing import NDArray

from cellbench.registry import MATCHERS
from cellbench_plugins.matchers._cost import CostMatcher


@MATCHERS.register_module()
class Hungarian(CostMatcher):
    """One-to-one assignment of proposals to annotated cells by global cost.

    The cost of a pair is point_weight * distance - score_weight * score.

    Source: P2PNet, arXiv:2107.12746, Eq. 3.

    Differs: distances are in px of the original image, not of the network input, of which
    P2PNet has one a pixel but for its random scaling.
    """

    def __init__(self, *, point_weight: float = 0.05, score_weight: float = 1.0) -> None:
        """Set the weights.

        Args:
            point_weight: of the distance, per px of the original image.
            score_weight: of the score, which is in [0, 1].
        """
        super().__init__(point_weight=point_weight, score_weight=score_weight)

    def geometric_cost(self, distance: NDArray[np.float64]) -> NDArray[np.float64]:
        """The distance itself."""
        return distance

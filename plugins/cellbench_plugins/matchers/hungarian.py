"""Hungarian matching by distance and score."""

import numpy as np
from numpy.typing import NDArray

from cellbench.registry import MATCHERS
from cellbench_plugins.matchers._cost import CostMatcher


@MATCHERS.register_module()
class Hungarian(CostMatcher):
    """Hungarian matching: one-to-one assignment of proposals to cells of least summed cost.

    The cost of a pair is point_weight * distance - score_weight * score.

    Source: P2PNet, arXiv:2107.12746, Eq. 3.

    Differs: distances are in px of the original image, not of the network input; in P2PNet the
    two are equal but for its random scaling.
    """

    def __init__(self, *, point_weight: float = 0.05, score_weight: float = 1.0) -> None:
        """Set the weights.

        Args:
            point_weight: weight of the distance, per px of the original image.
            score_weight: weight of the score, which is in [0, 1].
        """
        super().__init__(point_weight=point_weight, score_weight=score_weight)

    def geometric_cost(self, distance: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance itself."""
        return distance

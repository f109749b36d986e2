"""K-adjacent Hungarian Matching (KHM): a matching cost that depends on the local density."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cellbench.errors import PartError
from cellbench.registry import MATCHERS
from cellbench_plugins.matchers._cost import CostMatcher

# The mean of equal distances may differ from them in the last digit, yet lies at the radius.
_ROUNDING = 1e-9

Weighting = Literal["monotone", "reward", "released"]


@MATCHERS.register_module()
class KHM(CostMatcher):
    """K-adjacent Hungarian Matching: Gaussian-weighted cost within a density-adaptive radius.

    Each proposal has a radius, the mean distance to its k nearest cells (Eq. 1). Within it, the
    weight w = exp(-d^2 / 2 sigma^2) (Eq. 2) changes the cost of the distance d:

    - `monotone`: d (1 - w). Near cells cost almost nothing; the cost grows with d.
    - `reward`: sigma (1 - w), least where the sum of w is largest, as the paper states ("higher
      weights indicate favorable pairings").
    - `released`: d w, as in the released code. Not monotone: a cell at the radius may be cheaper
      than a neighbour.

    Outside the radius the cost is d. At the radius, which itself is inside (outside for
    `released`), the cost jumps by what w took off; upwards, so `monotone` and `reward` never prefer
    the farther of two cells. With fewer than k cells the radius is the mean over those there are.

    Source: DLA-Count, section 2.2, Eq. 1 and 2.

    Differs: the paper's Eq. 1 sums distances "to the k-th nearest"; here it is the mean over the k
    nearest, as in the released code. The paper gives no sigma, no cost as a function of the weight
    and no share of the score in it; sigma and both weights are the released code's, `monotone` is
    ours, and `reward` is scaled by sigma, so that inside and outside are both px and point_weight
    means the same. The released code takes radii over the cells of all images in the batch; here
    each image is matched by itself, and distances are in px of the original image, as in
    `Hungarian`.
    """

    def __init__(
        self,
        *,
        k: int = 5,
        sigma_px: float = 5.0,
        weighting: Weighting = "monotone",
        point_weight: float = 0.05,
        score_weight: float = 1.0,
    ) -> None:
        """Set radius and weight.

        Args:
            k: number of nearest cells whose mean distance is the radius.
            sigma_px: deviation of the Gaussian weight, px of the original image.
            weighting: how the weight enters the cost.
            point_weight: weight of the geometric cost, per px of the original image.
            score_weight: weight of the score, which is in [0, 1].

        Raises:
            PartError: k below 1, a sigma that is not positive, an unknown weighting, or a negative
                weight.
        """
        super().__init__(point_weight=point_weight, score_weight=score_weight)
        if k < 1:
            raise PartError(f"KHM: k is {k}; it is a whole number of at least 1.")
        if not 0 < sigma_px < float("inf"):
            raise PartError(f"KHM: sigma_px is {sigma_px}; it is a positive number of px.")
        if weighting not in ("monotone", "reward", "released"):
            raise PartError(
                f"KHM: weighting is {weighting!r}; it is 'monotone', 'reward' or 'released'."
            )
        self.k = k
        self.sigma_px = sigma_px
        self.weighting = weighting

    def radius(self, distance: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the density-adaptive radius of each proposal (Eq. 1).

        Args:
            distance: (P, A) px, A at least 1.

        Returns:
            (P,) px: the mean distance to the nearest min(k, A) cells.
        """
        k = min(self.k, distance.shape[1])
        return np.partition(distance, k - 1, axis=1)[:, :k].mean(axis=1)

    def geometric_cost(self, distance: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weight the distance within each proposal's radius."""
        radius = self.radius(distance)[:, None]
        weight = np.exp(-0.5 * np.square(distance / self.sigma_px))
        if self.weighting == "released":
            return np.where(distance < radius * (1 - _ROUNDING), distance * weight, distance)
        near = distance if self.weighting == "monotone" else self.sigma_px
        return np.where(distance <= radius * (1 + _ROUNDING), near * (1 - weight), distance)

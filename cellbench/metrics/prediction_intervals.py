"""An interval for the count of every picture, from errors on pictures with known counts.

Split conformal prediction: whatever the method and however wrong, the interval of a new picture
holds its true count with the stated chance, if that picture comes from where the known ones come
from. Errors are measured in units of what counting noise would be, so that a picture of many cells
has a wider interval than one of few.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]

LEVEL = 0.9


@dataclass(frozen=True, slots=True)
class CountIntervals:
    """How far counts are to be trusted.

    Attributes:
        level: share of pictures whose interval holds their true count.
        images: how many pictures with known counts it rests on.
        quantile: half width of an interval in units of `spread`.
    """

    level: float
    images: int
    quantile: float

    def of(self, counts: ArrayLike) -> tuple[Values, Values]:
        """Lower and upper ends, (N,) each; a count is never below 0.

        Args:
            counts: (N,) as the method counts them.
        """
        counted = np.asarray(counts, dtype=np.float64)
        half = self.quantile * spread(counted)
        return np.maximum(counted - half, 0.0), np.maximum(counted + half, 0.0)


def count_intervals(
    truth: ArrayLike, counts: ArrayLike, *, level: float = LEVEL
) -> CountIntervals | None:
    """Learn intervals from pictures that the method was not trained on.

    Args:
        truth: (N,) annotated cells.
        counts: (N,) as the method counts them.
        level: wanted, between 0 and 1.

    Returns:
        None where there are too few pictures for the level: 9 for 90 %.

    Source: Lei et al., Distribution-free predictive inference for regression, J. Amer. Statist.
        Assoc. 113:1094, 2018, section 5.2 (residuals scaled by their local size).
    """
    t, p = np.asarray(truth, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    rank = ceil((len(t) + 1) * level - 1e-9)
    if rank > len(t):
        return None
    scores = np.sort(np.abs(t - p) / spread(p))
    return CountIntervals(level, len(t), float(scores[rank - 1]))


def spread(counts: Values) -> Values:
    """What counting noise would be, cells: the root of the count, one cell at least."""
    scale: Values = np.sqrt(np.maximum(counts, 0.0) + 1.0)
    return scale

"""Prediction intervals for the count of every image, from errors on images with known counts.

Split conformal prediction: whatever the method and its errors, the interval of a new image covers
its true count with the stated probability, if that image comes from the distribution of the known
ones. Errors are scaled by the expected counting noise, so that an image of many cells has a wider
interval than one of few.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]

LEVEL = 0.9


@dataclass(frozen=True, slots=True)
class CountIntervals:
    """Calibrated prediction intervals of counts.

    Attributes:
        level: share of images whose interval covers their true count.
        images: number of images with known counts that they were calibrated on.
        quantile: half width of an interval in units of `spread`.
    """

    level: float
    images: int
    quantile: float

    def of(self, counts: ArrayLike) -> tuple[Values, Values]:
        """Compute lower and upper ends, (N,) each, clipped at 0.

        Args:
            counts: (N,) predicted counts.
        """
        counted = np.asarray(counts, dtype=np.float64)
        half = self.quantile * spread(counted)
        return np.maximum(counted - half, 0.0), np.maximum(counted + half, 0.0)


def count_intervals(
    truth: ArrayLike, counts: ArrayLike, *, level: float = LEVEL
) -> CountIntervals | None:
    """Calibrate intervals on images that the method was not trained on.

    Args:
        truth: (N,) annotated cells.
        counts: (N,) predicted counts.
        level: coverage, between 0 and 1.

    Returns:
        The intervals; None with too few images for the level (90 % needs 9).

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
    """Compute the expected counting noise in cells, sqrt(count + 1), at least one cell."""
    scale: Values = np.sqrt(np.maximum(counts, 0.0) + 1.0)
    return scale

"""Means and totals of an experiment of which people annotated some pictures.

A method counts all pictures and people a few. The mean of the method's counts is wrong by its
bias, the mean of the annotated pictures rests on few of them. Together they give an estimate that
is right on average whatever the method's errors are, and nearer the better the method is:
prediction-powered inference, which survey statistics has as the difference estimator.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]

LEVEL = 0.95

# A variance that rounding leaves of equal numbers, as a share of a square.
_NO_SPREAD = 1e-20

FEWEST_TUNED = 6
"""With fewer annotated pictures the method's counts are taken as they are, with weight 1."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: cells.
        low: lower end of the interval; None where two annotated pictures are not there, or where
            they do not show how errors vary, since all are the same.
        high: its upper end.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class PoweredMean:
    """An experiment, or a group of its pictures.

    Attributes:
        annotated: how many pictures people counted.
        others: how many the method alone did.
        weight: of the method's counts, 0 to 1.
        mean: cells in a picture of this kind, by method and people together.
        total: cells in all these pictures: annotated ones as people counted them.
        naive_mean: by the method alone; no interval holds its bias.
        naive_total: the same of all pictures.
        annotated_mean: by the annotated pictures alone.
    """

    annotated: int
    others: int
    weight: float
    mean: Estimate
    total: Estimate
    naive_mean: float
    naive_total: float
    annotated_mean: Estimate


def powered_mean(
    truth: ArrayLike, counted: ArrayLike, others: ArrayLike, *, level: float = LEVEL
) -> PoweredMean | None:
    """Estimate mean and total of pictures, some of which are annotated.

    The annotated pictures are to be chosen from all without a look at them, and the method not to
    have been trained on them. Every annotated picture is corrected with a weight that the others
    gave, so that no picture has a say in how far it is believed: the mean is unbiased.

    Args:
        truth: (n,) cells that people counted.
        counted: (n,) cells that the method counted in the same pictures.
        others: (N,) cells that the method counted in the pictures without annotation.
        level: of the intervals.

    Returns:
        None without annotated pictures.

    Source: Angelopoulos, Bates, Fannjiang, Jordan and Zrnic, Prediction-powered inference, Science
        382:669, 2023; its weight: Angelopoulos, Duchi and Zrnic, PPI++, arXiv:2311.01453; of the
        total: Cochran, Sampling Techniques, 3rd edition, section 7.
    Differs: the weight of a picture is found without it; intervals are of Student's t, whose
        degrees of freedom follow from both samples (Satterthwaite), where the papers take the
        normal distribution, which few annotated pictures do not reach.
    """
    y, f, rest = (np.asarray(v, dtype=np.float64) for v in (truth, counted, others))
    n, more = len(y), len(rest)
    if not n:
        return None
    weights = _weights(y, f, more) if more else np.zeros(n)
    corrections = y - weights * f
    weight = float(weights.mean())
    by_method = float(rest.mean()) if more else 0.0
    mean = float(corrections.mean()) + weight * by_method
    noise = _variance(corrections)
    of_rest = weight**2 * _variance(rest) / more if more else 0.0
    # The pictures that were annotated are known; of the others each has a correction of its own.
    total = float(y.sum()) + more * mean
    of_total = noise * (more**2 / n + more)
    fitted = int(bool(more) and n >= FEWEST_TUNED)  # the weight is one more number that is found
    every = np.concatenate([f, rest])
    return PoweredMean(
        annotated=n,
        others=more,
        weight=weight,
        mean=_estimate(mean, [(noise / n, n - 1 - fitted), (of_rest, more - 1)], level),
        total=_estimate(total, [(of_total, n - 1 - fitted)], level, exact=not more),
        naive_mean=float(every.mean()),
        naive_total=float(every.sum()),
        annotated_mean=_estimate(float(y.mean()), [(_variance(y) / n, n - 1)], level),
    )


def _weights(y: Values, f: Values, more: int) -> Values:
    """The weight of every annotated picture, from the others: cov(y, f) / var(f), shrunk."""
    n = len(y)
    if n < FEWEST_TUNED:
        return np.ones(n)
    # Sums without one picture each, by the formula that takes one out of a mean and a product.
    dy, df = y - y.mean(), f - f.mean()
    factor = n / (n - 1)
    together = (dy @ df) - factor * dy * df
    alone = (df @ df) - factor * df * df
    slope = np.divide(together, alone, out=np.zeros(n), where=alone > 1e-12 * max(1.0, df @ df))
    weights: Values = np.clip(slope / (1 + n / more), 0.0, 1.0)
    return weights


def _variance(values: Values) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def _estimate(
    value: float, parts: list[tuple[float, int]], level: float, *, exact: bool = False
) -> Estimate:
    """A number whose variance is a sum.

    Args:
        value: the number.
        parts: variances, each with its degrees of freedom; the first is of the annotated pictures.
        level: of the interval.
        exact: whether a variance of 0 is none, and not one that a few equal pictures hide.
    """
    from scipy.special import stdtrit

    nothing = _NO_SPREAD * max(1.0, value * value)
    if parts[0][1] < 1 or (parts[0][0] <= nothing and not exact):
        return Estimate(value)
    whole = sum(variance for variance, _ in parts)
    below = sum(variance**2 / freedom for variance, freedom in parts if freedom > 0)
    if not below:
        return Estimate(value, value, value)
    half = float(stdtrit(whole**2 / below, (1 + level) / 2)) * sqrt(whole)
    return Estimate(value, value - half, value + half)

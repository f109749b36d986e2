"""Prediction-powered means and totals of an experiment with some annotated images.

A method counts all images, and people annotate a few. The mean of the method's counts is off by
its bias; the mean of the annotated images rests on few of them. Combined, they give an estimate
that is unbiased whatever the method's errors are, and more precise the better the method is:
prediction-powered inference, in survey statistics the difference estimator.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]

LEVEL = 0.95

# Variance of equal numbers that is left by rounding, relative to their square.
_NO_SPREAD = 1e-20

FEWEST_TUNED = 6
"""With fewer annotated images the method's counts are used with weight 1."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimate with its confidence interval.

    Attributes:
        value: cells.
        low: lower end of the interval; None with fewer than two annotated images, or where all
            their errors are equal and do not show how errors vary.
        high: its upper end.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class PoweredMean:
    """Estimates for an experiment, or for a group of its images.

    Attributes:
        annotated: number of annotated images.
        others: number of images counted by the method alone.
        weight: weight of the method's counts, 0 to 1.
        mean: cells per image, from predictions and annotations together.
        total: cells in all images, with the annotated counts where there are any.
        naive_mean: cells per image by the method alone; no interval covers its bias.
        naive_total: cells in all images by the method alone.
        annotated_mean: cells per image by the annotated images alone.
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
    """Estimate mean and total of images, some of which are annotated.

    The annotated images must have been chosen from all without viewing them, and the method not
    trained on them. Every annotated image is corrected with a weight estimated from the others,
    which keeps the mean unbiased.

    Args:
        truth: (n,) annotated counts.
        counted: (n,) predicted counts of the same images.
        others: (N,) predicted counts of the images without annotation.
        level: confidence level of the intervals.

    Returns:
        The estimates; None without annotated images.

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
    # Annotated counts are exact; each of the other images has a correction of its own.
    total = float(y.sum()) + more * mean
    of_total = noise * (more**2 / n + more)
    fitted = int(bool(more) and n >= FEWEST_TUNED)  # the weight takes one degree of freedom
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
    """Compute the weight of every annotated image from the others: cov(y, f) / var(f), shrunk."""
    n = len(y)
    if n < FEWEST_TUNED:
        return np.ones(n)
    # Leave-one-out sums of products, in closed form.
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
    """Compute the confidence interval of a value whose variance is a sum.

    Args:
        value: the estimate.
        parts: variances, each with its degrees of freedom; the first is of the annotated images.
        level: confidence level.
        exact: whether a variance of 0 is real, rather than unknown because a few images are equal.
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

"""Significant differences between the rows of a table, and the ranks that follow from them.

The difference of two rows is the mean over images of the difference of their absolute errors, as
the MAE is a mean over images. Its standard error takes images of one cluster (of MBM a slide) as
one draw, and the pairs of a table are corrected for multiple testing. Rows that the images cannot
distinguish share a rank.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellbench.ranking.statistics import LEVEL, Floats

# Cells; smaller differences are rounding errors.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class SharedRanks:
    """Ranks of rows, of which several may share one.

    Attributes:
        ranks: one more than the number of rows that are significantly better; None for a row
            without scores.
        smallest: cells by which two neighbours must differ to be distinguished: the median over
            rows adjacent in MAE; None where no two can be compared.
    """

    ranks: tuple[int | None, ...]
    smallest: float | None


def shared_ranks(absolute: Floats, clusters: Sequence[str], *, level: float = LEVEL) -> SharedRanks:
    """Rank rows; those without a significant difference share a rank.

    Args:
        absolute: (E, N) errors image by image, NaN where a row has no score; rows are compared on
            the images that both scored.
        clusters: (N,) names; images of one cluster are one draw.
        level: 1 - level is the chance of any false difference in the table.

    Returns:
        Ranks in the order of the rows: 1 for all of them where there are fewer than two clusters.

    Source: cluster-robust t test of a mean, Liang and Zeger, Biometrika 73:13, 1986, with the
        factor C / (C - 1) for few clusters; Holm, Scand. J. Statist. 6:65, 1979.
    """
    rows = np.flatnonzero(np.isfinite(absolute).any(axis=1))
    difference, error, freedom = _differences(absolute[rows], clusters)
    first, second = np.triu_indices(len(rows), 1)
    freedom_of = freedom[first, second]
    tested = freedom_of > 0
    first, second, freedom_of = first[tested], second[tested], freedom_of[tested]
    better = np.zeros((len(rows), len(rows)), dtype=bool)
    if len(first):
        gap, noise = difference[first, second], error[first, second]
        significant = holm(_p_values(gap, noise, freedom_of)) < 1 - level
        better[first, second] = significant & (gap < 0)
        better[second, first] = significant & (gap > 0)
    ranks: list[int | None] = [None] * len(absolute)
    for row, above in zip(rows.tolist(), better.sum(axis=0).tolist(), strict=True):
        ranks[row] = above + 1
    return SharedRanks(
        tuple(ranks), _smallest(absolute[rows], error, freedom, pairs=len(first), level=level)
    )


def holm(p_values: Floats) -> Floats:
    """Apply Holm's correction, as statsmodels does, whose import takes longer than a leaderboard.

    Args:
        p_values: (P,).

    Returns:
        (P,) corrected, at most 1.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return corrected


def _differences(
    absolute: Floats, clusters: Sequence[str]
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Compute for all pairs mean difference, standard error and degrees of freedom, (E, E) each."""
    names, place = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    shape = (len(absolute), len(absolute))
    difference, error = np.zeros(shape), np.zeros(shape)
    freedom = np.zeros(shape, dtype=np.int64)
    member = np.zeros((absolute.shape[1], len(names)))
    member[np.arange(len(place)), place] = 1.0
    for row, errors in enumerate(absolute):
        gaps = errors - absolute
        known = np.isfinite(gaps)
        count = known.sum(axis=1)
        gaps = np.where(known, gaps, 0.0)
        gaps[np.abs(gaps) < _ROUNDING] = 0.0
        mean = gaps.sum(axis=1) / np.maximum(count, 1)
        within = known @ member
        centred = gaps @ member - within * mean[:, None]
        drawn = (within > 0).sum(axis=1)
        factor = drawn / np.maximum(drawn - 1, 1)
        difference[row] = mean
        error[row] = np.sqrt(factor * np.square(centred).sum(axis=1)) / np.maximum(count, 1)
        freedom[row] = drawn - 1
    return difference, error, freedom


def _p_values(difference: Floats, error: Floats, freedom: NDArray[np.int64]) -> Floats:
    """Compute two-sided p; of the sign test for a difference that is equal in every cluster.

    Counts are whole numbers, so that two or three images often differ by the same one. The t test
    would find no noise there, and any difference significant.
    """
    from scipy.special import stdtr

    same = error < _ROUNDING
    p = 2 * stdtr(freedom, -np.abs(difference) / np.where(same, 1.0, error))
    return np.asarray(np.where(same & (difference != 0), 2.0**-freedom, p), dtype=np.float64)


def _smallest(
    absolute: Floats, error: Floats, freedom: NDArray[np.int64], *, pairs: int, level: float
) -> float | None:
    """Compute the median over neighbours of the least difference that Holm's first test detects."""
    if not pairs:
        return None
    from scipy.special import stdtrit

    order = np.argsort(np.nanmean(absolute, axis=1), kind="stable")
    above, below = order[:-1], order[1:]
    # An equal difference in every cluster gives no estimate of noise.
    tested = (freedom[above, below] > 0) & (error[above, below] >= _ROUNDING)
    if not tested.any():
        return None
    above, below = above[tested], below[tested]
    limits = stdtrit(freedom[above, below], 1 - (1 - level) / (2 * pairs)) * error[above, below]
    return float(np.median(limits))

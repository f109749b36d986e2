"""Paired comparison of experiments: differences with intervals, and Wilcoxon tests after Holm."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cellbench.ranking.shared_ranks import holm
from cellbench.ranking.statistics import (
    LEVEL,
    RESAMPLES,
    Floats,
    ImageErrors,
    intervals,
    mean_over_images,
)

# SciPy uses the exact distribution up to this many pairs, and a normal approximation for more.
_MOST_EXACT = 50


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of two experiments on the images that both scored.

    Attributes:
        first: index of the one experiment.
        second: index of the other.
        images: number of images that both scored.
        clusters: number of independent clusters (images, or slides) among these.
        difference: mean error of the first minus that of the second, cells; None without images.
        low: lower end of its interval; None with fewer than six clusters.
        high: its upper end.
        p: two-sided, of the paired Wilcoxon test over clusters; None if too few clusters differ.
        p_holm: p after Holm's correction for all tested pairs.
        reason: why there is no p; empty where there is.
    """

    first: int
    second: int
    images: int
    clusters: int
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    reason: str = ""


def compare_pairs(
    errors: ImageErrors, *, resamples: int = RESAMPLES, level: float = LEVEL
) -> list[Comparison]:
    """Compare every pair of experiments: difference with interval, and Wilcoxon's test after Holm.

    Images are paired, each with its errors averaged over seeds and splits; where images share
    slides, the means of the slides are. A pair is tested only if enough clusters differ for the
    smallest possible p, 2 / 2**n with n differing clusters, to pass Holm's first step.

    Args:
        errors: errors of the experiments.
        resamples: number of bootstrap resamples.
        level: confidence level of the intervals; the tests' alpha is 1 - level.

    Returns:
        The pairs in order, (0, 1), (0, 2), ...; empty for fewer than two experiments.

    Source: Wilcoxon, Biometrics Bulletin 1:80, 1945; Holm, Scand. J. Statist. 6:65, 1979; both as
        in SciPy and statsmodels.
    """
    pairs = list(itertools.combinations(range(len(errors.absolute)), 2))
    if not pairs:
        return []
    differences = np.stack([errors.absolute[a] - errors.absolute[b] for a, b in pairs])
    means = mean_over_images(differences)
    ranges = intervals(differences, errors.clusters, resamples=resamples, level=level)
    by_cluster = [_cluster_means(row, errors.clusters) for row in differences]
    p_values, reasons = _wilcoxon(by_cluster, alpha=1 - level)
    corrected = iter(holm(np.array([p for p in p_values if p is not None])).tolist())
    return [
        Comparison(
            first=a,
            second=b,
            images=int(np.isfinite(row).sum()),
            clusters=len(cluster_means),
            difference=mean,
            low=None if span is None else span[0],
            high=None if span is None else span[1],
            p=p,
            p_holm=None if p is None else next(corrected),
            reason=reason,
        )
        for (a, b), row, cluster_means, mean, span, p, reason in zip(
            pairs, differences, by_cluster, means, ranges, p_values, reasons, strict=True
        )
    ]


def pairs_needed(comparisons: int, *, alpha: float = 0.05) -> int:
    """Compute how many pairs must differ for Wilcoxon's test to be able to pass Holm's first step.

    Args:
        comparisons: number of tests that are corrected for, at least 1.
        alpha: significance level.
    """
    return int(np.ceil(1 + np.log2(comparisons / alpha) - 1e-12))


def _wilcoxon(rows: Sequence[Floats], *, alpha: float) -> tuple[list[float | None], list[str]]:
    needed = pairs_needed(len(rows), alpha=alpha)
    p_values: list[float | None] = []
    reasons = []
    for row in rows:
        differing = int(np.count_nonzero(row))
        if differing < needed:
            p_values.append(None)
            reasons.append(
                f"{differing} pairs differ and {needed} are needed to tell anything from chance"
            )
            continue
        p_values.append(_wilcoxon_p(row))
        reasons.append("")
    return p_values, reasons


def _wilcoxon_p(row: Floats) -> float:
    """Compute the two-sided p of one row, equal to SciPy's.

    SciPy's function takes milliseconds per call and a second to import, and a site has thousands
    of pairs; so the normal approximation, which it uses for many pairs, is computed here.
    """
    if len(row) <= _MOST_EXACT:
        from scipy.stats import wilcoxon

        return float(wilcoxon(row, zero_method="wilcox").pvalue)
    from scipy.special import ndtr

    row = row[row != 0]
    _, place, times = np.unique(np.abs(row), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(times) - (times - 1) / 2)[place]
    n = len(row)
    variance = n * (n + 1) * (2 * n + 1) / 24 - (times**3 - times).sum() / 48
    excess = ranks[row > 0].sum() - n * (n + 1) / 4
    return float(2 * ndtr(-abs(excess) / np.sqrt(variance)))


def _cluster_means(row: Floats, clusters: Sequence[str]) -> Floats:
    """Compute the mean of every cluster that has a score; rounding errors become 0."""
    known = np.flatnonzero(np.isfinite(row))
    names = sorted({clusters[index] for index in known.tolist()})
    place = {name: index for index, name in enumerate(names)}
    where = [place[clusters[index]] for index in known.tolist()]
    sums = np.bincount(where, weights=row[known], minlength=len(names))
    means = sums / np.bincount(where, minlength=len(names))
    means[np.abs(means) < 1e-9] = 0.0
    return means

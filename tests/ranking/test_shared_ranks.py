"""Claims about which rows differ for sure, held against SciPy and statsmodels."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from cellbench.ranking.shared_ranks import holm, shared_ranks


def errors(*means, images=60, noise=1.0, seed=0):
    """Rows of absolute errors that share what is hard in each image."""
    rng = np.random.default_rng(seed)
    hard = rng.gamma(2.0, 2.0, size=images)
    return np.stack([hard + mean + noise * rng.normal(size=images) for mean in means])


def ids(number):
    return [f"{index:03}" for index in range(number)]


def reference(absolute, clusters, level=0.95):
    """Ranks by a loop over pairs: OLS of the difference on a constant, errors by cluster."""
    import statsmodels.api as sm
    from statsmodels.stats.multitest import multipletests

    groups = np.unique(clusters, return_inverse=True)[1]
    pairs, p_values, gaps, noises = list(combinations(range(len(absolute)), 2)), [], [], []
    for a, b in pairs:
        gap = absolute[a] - absolute[b]
        known = np.isfinite(gap)
        fit = sm.OLS(gap[known], np.ones(known.sum())).fit(
            cov_type="cluster", cov_kwds={"groups": groups[known]}, use_t=True
        )
        p_values.append(fit.pvalues[0])
        gaps.append(fit.params[0])
        noises.append(fit.bse[0])
    sure = multipletests(p_values, alpha=1 - level, method="holm")[0]
    ranks = [1] * len(absolute)
    for (a, b), yes, gap in zip(pairs, sure, gaps, strict=True):
        if yes:
            ranks[a if gap > 0 else b] += 1
    return ranks, dict(zip(pairs, noises, strict=True))


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("missing", [False, True])
def test_ranks_and_the_least_difference_are_those_of_a_regression_by_cluster(size, missing):
    absolute = errors(0.0, 0.1, 1.5, 4.0, 4.1)
    clusters = [f"c{index // size}" for index in range(60)]
    if missing:
        absolute[1, :7] = absolute[3, 50:] = np.nan
    got = shared_ranks(absolute, clusters)
    ranks, noise = reference(absolute, clusters)
    assert list(got.ranks) == ranks
    assert len(set(ranks)) > 1
    order = np.argsort(np.nanmean(absolute, axis=1))
    drawn = {
        pair: len(set(np.array(clusters)[np.isfinite(absolute[list(pair)]).all(axis=0)]))
        for pair in noise
    }
    limits = []
    for pair in zip(order[:-1].tolist(), order[1:].tolist(), strict=True):
        pair = tuple(sorted(pair))
        limits.append(stats.t.ppf(1 - 0.05 / (2 * len(noise)), drawn[pair] - 1) * noise[pair])
    assert got.smallest == pytest.approx(np.median(limits), rel=1e-9)


def test_two_rows_of_images_are_a_paired_t_test():
    first, second = errors(0.0, 0.32)
    p = stats.ttest_rel(first, second).pvalue
    for level in (1 - p * 0.99, 1 - p * 1.01):
        ranks = shared_ranks(np.stack([first, second]), ids(60), level=level).ranks
        assert ranks == ((1, 2) if p < 1 - level else (1, 1))


def test_rows_between_two_that_differ_share_the_rank_of_the_better():
    absolute = errors(0.0, 0.35, 0.7, images=40)
    assert shared_ranks(absolute, ids(40)).ranks == (1, 1, 2)


def test_holm_is_that_of_statsmodels():
    from statsmodels.stats.multitest import multipletests

    p_values = np.array([0.04, 0.001, 0.03, 0.5, 0.001, 1.0])
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_many_equal_methods_are_rarely_parted():
    """At most 5 % of tables of equals have a second rank; 200 tables, so 10, and chance."""
    wrong = sum(
        max(shared_ranks(errors(*[0.0] * 8, images=30, seed=seed), ids(30)).ranks) > 1
        for seed in range(200)
    )
    assert wrong <= 18


@pytest.mark.parametrize("images", [2, 5, 6, 7, 12])
def test_a_difference_that_is_the_same_everywhere_has_the_p_of_the_sign_test(images):
    """The t test takes two images that differ by one cell each for no chance at all."""
    absolute = np.stack([np.arange(images) + 3.0, np.arange(images) + 2.0])
    p = stats.binomtest(images, images).pvalue
    assert shared_ranks(absolute, ids(images)).ranks == ((2, 1) if p < 0.05 else (1, 1))
    assert shared_ranks(absolute, ids(images), level=1 - 1.01 * p).ranks == (2, 1)
    assert shared_ranks(absolute, ids(images), level=1 - 0.99 * p).ranks == (1, 1)
    assert shared_ranks(absolute, ids(images)).smallest is None


def test_equal_methods_on_few_images_are_rarely_parted():
    """Whole counts of two images often differ alike, which parted 90 of these 1000 tables."""
    rng = np.random.default_rng(0)
    wrong = sum(
        max(shared_ranks(np.abs(rng.normal(0, 2, (2, 2)).round()), ids(2)).ranks) > 1
        for _ in range(1000)
    )
    assert wrong <= 50


@pytest.mark.parametrize(
    ("absolute", "clusters", "ranks"),
    [
        (np.zeros((0, 0)), [], ()),
        (np.zeros((1, 5)), ids(5), (1,)),
        (np.array([[1.0, 2.0], [9.0, 9.5]]), ["one", "one"], (1, 1)),
        (np.array([[1.0, 2.0], [1.0, 2.0]]), ids(2), (1, 1)),
        (np.array([[3.0, 4.0], [1.0, 2.0]]), ids(2), (1, 1)),
        (np.array([[np.nan, np.nan], [1.0, 2.0]]), ids(2), (None, 1)),
        (np.array([[1.0, np.nan], [np.nan, 2.0]]), ids(2), (1, 1)),
    ],
    ids=[
        "none",
        "one",
        "one cluster",
        "equal",
        "by the same twice",
        "without scores",
        "nothing shared",
    ],
)
def test_what_cannot_be_told_apart_shares_a_rank(absolute, clusters, ranks):
    got = shared_ranks(absolute, clusters)
    assert got.ranks == ranks
    assert got.smallest is None or got.smallest >= 0

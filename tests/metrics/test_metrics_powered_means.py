"""Claims about means of partly annotated experiments, held against loops and simulation."""

import numpy as np
import pytest
from scipy import stats

from cellbench.metrics.powered_means import FEWEST_TUNED, powered_mean

MEAN = 60.0


def experiment(rng, annotated, others, correlation):
    """Counts of skewed pictures by people and by a method that is biased in place and scale."""
    truth = rng.gamma(4.0, MEAN / 4, size=annotated + others)
    noise = rng.normal(scale=MEAN / 2 * np.sqrt(1 / correlation**2 - 1), size=len(truth))
    return truth, 1.3 * (truth + noise) + 15.0


def by_loops(y, f, rest, level=0.95):
    """The mean and its interval, a picture at a time."""
    n, more = len(y), len(rest)
    corrected, weights = [], []
    for i in range(n):
        keep = [j for j in range(n) if j != i]
        slope = np.cov(y[keep], f[keep])[0, 1] / np.var(f[keep], ddof=1)
        weights.append(min(max(slope / (1 + n / more), 0), 1))
        corrected.append(y[i] - weights[-1] * f[i])
    weight = np.mean(weights)
    mean = np.mean(corrected) + weight * np.mean(rest)
    parts = [np.var(corrected, ddof=1) / n, weight**2 * np.var(rest, ddof=1) / more]
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (n - 2) + parts[1] ** 2 / (more - 1))
    half = stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(sum(parts))
    return mean, mean - half, mean + half


@pytest.mark.parametrize("annotated", [6, 9, 30])
def test_mean_and_interval_are_those_of_a_loop(annotated):
    truth, counted = experiment(np.random.default_rng(annotated), annotated, 25, 0.8)
    n = annotated
    got = powered_mean(truth[:n], counted[:n], counted[n:]).mean
    expected = by_loops(truth[:n], counted[:n], counted[n:])
    assert (got.value, got.low, got.high) == pytest.approx(expected, rel=1e-9)


def test_few_annotated_pictures_take_the_difference_as_it_is():
    y, f, rest = np.array([10.0, 14.0, 21.0]), np.array([12.0, 15.0, 25.0]), np.array([30.0, 8.0])
    got = powered_mean(y, f, rest)
    assert got.weight == 1.0
    assert got.mean.value == pytest.approx(np.mean(y - f) + np.mean(rest))
    assert got.total.value == pytest.approx(y.sum() + rest.sum() + 2 * np.mean(y - f))
    half = stats.t.ppf(0.975, 2) * np.sqrt(np.var(y - f, ddof=1) * (4 / 3 + 2))
    assert got.total.high - got.total.value == pytest.approx(half)
    assert (got.naive_mean, got.naive_total) == pytest.approx((np.mean([*f, *rest]), 90.0))


def test_in_thousands_of_experiments_intervals_hold_the_truth_and_are_narrower():
    """As often as they say, for a method with a bias of 33 cells; 95 % and what chance adds."""
    rng = np.random.default_rng(2)
    tries, held, held_total, narrower, off = 4000, 0, 0, 0, []
    n = 16
    for _ in range(tries):
        truth, counted = experiment(rng, n, 80, 0.85)
        got = powered_mean(truth[:n], counted[:n], counted[n:])
        held += got.mean.low <= MEAN <= got.mean.high
        held_total += got.total.low <= truth.sum() <= got.total.high
        alone = got.annotated_mean
        narrower += got.mean.high - got.mean.low < alone.high - alone.low
        off.append(got.mean.value - MEAN)
    assert 0.94 <= held / tries <= 0.96
    assert 0.94 <= held_total / tries <= 0.96
    assert narrower >= 0.95 * tries
    assert abs(np.mean(off)) < 3 * np.std(off) / np.sqrt(tries)


def test_a_method_that_says_nothing_gets_no_weight():
    rng = np.random.default_rng(0)
    y, f, rest = rng.normal(50, 9, 200), rng.normal(80, 9, 200), rng.normal(80, 9, 400)
    got = powered_mean(y, f, rest)
    assert got.weight < 0.15
    alone = got.annotated_mean
    assert got.mean.high - got.mean.low <= 1.02 * (alone.high - alone.low)


def test_without_annotated_pictures_there_is_nothing_to_say():
    assert powered_mean([], [], [3.0, 4.0]) is None


def test_one_annotated_picture_corrects_but_has_no_interval():
    got = powered_mean([10.0], [14.0], [20.0, 30.0])
    assert got.mean.value == pytest.approx(25 - 4)
    assert (got.mean.low, got.mean.high, got.total.low) == (None, None, None)


def test_where_all_pictures_are_annotated_people_are_believed():
    y = np.arange(8.0)
    got = powered_mean(y, y + 5, [])
    assert got.mean == got.annotated_mean
    assert (got.total.value, got.total.low, got.total.high) == (28.0, 28.0, 28.0)


@pytest.mark.parametrize("n", [2, FEWEST_TUNED, 12])
def test_constant_counts_have_a_mean_and_no_interval(n):
    got = powered_mean(np.full(n, 7.0), np.full(n, 9.0), np.full(5, 9.0))
    assert got.mean.value == pytest.approx(7.0)
    assert got.total.value == pytest.approx(7.0 * (n + 5))
    for estimate in (got.mean, got.total, got.annotated_mean):
        assert (estimate.low, estimate.high) == (None, None)

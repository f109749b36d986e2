"""Claims about intervals of single counts."""

from math import ceil

import numpy as np
import pytest

from cellbench.metrics.prediction_intervals import count_intervals


def pictures(rng, number):
    """True counts and those of a method that is biased and errs more on full pictures."""
    truth = rng.gamma(2.0, 40.0, size=number).round()
    return truth, np.maximum(1.1 * truth + 4 + rng.normal(size=number) * 0.2 * truth, 0)


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("known", [20, 77])
def test_new_pictures_are_held_as_often_as_stated(level, known):
    """Between the level and 1 / (n + 1) above it, the theorem says, over draws of both."""
    rng = np.random.default_rng(known)
    held = []
    for _ in range(400):
        truth, counts = pictures(rng, known + 50)
        intervals = count_intervals(truth[:known], counts[:known], level=level)
        low, high = intervals.of(counts[known:])
        held.append(np.mean((low <= truth[known:]) & (truth[known:] <= high)))
    noise = np.std(held) / np.sqrt(len(held))
    assert level - 3 * noise <= np.mean(held) <= level + 1 / (known + 1) + 3 * noise


def test_the_quantile_is_found_by_counting():
    truth, counts = pictures(np.random.default_rng(3), 33)
    intervals = count_intervals(truth, counts)
    low, high = intervals.of(counts)
    held = (low <= truth + 1e-9) & (truth <= high + 1e-9)
    assert held.sum() == ceil(0.9 * 34)
    assert (intervals.images, intervals.level) == (33, 0.9)


def test_fuller_pictures_have_wider_intervals_and_none_goes_below_nothing():
    intervals = count_intervals(np.arange(40.0), np.arange(40.0) + 3)
    low, high = intervals.of([0.0, 25.0, 400.0, -2.0])
    assert (np.diff((high - low)[:3]) > 0).all()
    assert (low >= 0).all()
    assert (high >= low).all()


def test_a_perfect_method_has_intervals_of_no_width():
    intervals = count_intervals(np.arange(12.0), np.arange(12.0))
    low, high = intervals.of([5.0])
    assert (low[0], high[0]) == (5.0, 5.0)


@pytest.mark.parametrize(("level", "fewest"), [(0.8, 4), (0.9, 9), (0.95, 19)])
def test_too_few_pictures_give_no_interval(level, fewest):
    values = np.arange(float(fewest))
    assert count_intervals(values, values + 1, level=level) is not None
    assert count_intervals(values[1:], values[1:] + 1, level=level) is None

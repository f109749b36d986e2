"""Claims about pairing: all experiments are resampled on the same images."""

import numpy as np
import pytest

from cellbench.ranking.paired_tests import compare_pairs
from cellbench.ranking.statistics import ImageErrors, intervals, rank_intervals, resampled_means

HARD = np.random.default_rng(0).exponential(10, 60)
NAMES = tuple(f"i{index:02d}" for index in range(60))


def test_a_constant_difference_is_that_difference_in_every_resample():
    one, other = resampled_means(np.stack([HARD + 2, HARD]), NAMES, resamples=500).T
    assert np.ptp(other) > 1
    np.testing.assert_allclose(one - other, 2)


def test_an_experiment_that_is_a_little_worse_on_each_image_is_never_ranked_better():
    assert rank_intervals(np.stack([HARD, HARD + 0.01]), NAMES) == [(1, 1), (2, 2)]


def test_the_interval_of_a_constant_difference_has_no_width():
    absolute = np.stack([HARD + 2, HARD])
    errors = ImageErrors(
        image_ids=NAMES,
        clusters=NAMES,
        absolute=absolute,
        squared=absolute**2,
        signed=absolute,
        truth=np.zeros(60),
    )
    (found,) = compare_pairs(errors)
    assert (found.low, found.difference, found.high) == pytest.approx((2, 2, 2))


def test_six_images_have_an_interval_within_their_range_and_five_have_none():
    errors = np.array([[1.0, 3.0, 1.0, 3.0, 1.0, 3.0]])
    ((low, high),) = intervals(errors, list("abcdef"))
    assert 1 <= low < 2 < high <= 3
    assert intervals(errors[:, :5], list("abcde")) == [None]

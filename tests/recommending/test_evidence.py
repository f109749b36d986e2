"""Claims about errors, differences and the learning curve, against SciPy and simulation."""

import numpy as np
import pytest
from scipy import stats

from cellbench.recommending.evidence import (
    absolute_errors,
    as_good_as_best,
    clearly_worse,
    learning_curve_exponent,
    mean_error,
    nearly_best,
    p_value_worse,
    pictures_to_halve,
)


def named(values):
    return {f"{index:03d}": float(value) for index, value in enumerate(values)}


def alone(values):
    return {name: name for name in values}


def test_errors_have_students_interval_on_the_logarithm():
    errors = named([1.0, 2.0, 3.0, 4.0, 5.0])
    found = mean_error(errors, alone(errors))
    off = stats.t.ppf(0.975, 4) * stats.sem([1, 2, 3, 4, 5]) / 3.0
    ends = 3.0 * np.exp([-off, off])
    assert (found.mae, found.low, found.high) == pytest.approx((3.0, *ends))
    near = named([3.0, 3.01, 2.99])  # nearly equal errors: as Student's own
    low, high = stats.t.interval(0.95, 2, loc=3.0, scale=stats.sem([3.0, 3.01, 2.99]))
    found = mean_error(near, alone(near))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-3)
    wild = mean_error(named([0.0, 0.0, 9.0]), alone(named([0.0, 0.0, 9.0])), 0.9999)
    assert np.isfinite(wild.high)


def test_nearly_the_best_is_within_one_standard_error_of_the_difference():
    best, cells = named([1.0] * 9), named([8.0] * 9)
    units = alone(best)
    spread = np.array([-3, -2, -1, 0, 0, 0, 1, 2, 3])
    for share, near in ((0.9, True), (1.1, False)):
        other = named(1 + spread + share * stats.sem(spread))
        assert nearly_best(other, best, units, cells) is near
        assert p_value_worse(other, best, units, cells) > 0.1  # which no test tells apart


def test_the_interval_covers_the_mean_of_skewed_errors():
    rng = np.random.default_rng(0)
    inside = 0
    for draw in rng.exponential(2.0, (400, 16)):
        found = mean_error(named(draw), alone(named(draw)))
        inside += found.low <= 2.0 <= found.high
    assert inside >= 0.92 * 400


def test_pictures_of_one_group_count_once():
    errors = named([9.0, 9.0, 9.0, 11.0, 10.0, 10.0])
    units = dict(zip(errors, "aaabcc", strict=True))
    found = mean_error(errors, units)
    spread, mae = np.std([9.0, 11.0, 10.0], ddof=1), np.mean(list(errors.values()))
    assert np.log(found.high / found.low) == pytest.approx(
        2 * stats.t.ppf(0.975, 2) * spread / np.sqrt(3) / mae, rel=1e-6
    )
    assert mean_error(errors, dict.fromkeys(errors, "a")).low is None


def test_a_difference_is_tested_on_the_pictures_that_both_have_by_the_root_of_their_cells():
    rng = np.random.default_rng(1)
    one, other, cells = (named(rng.gamma(2, 1, many)) for many in (12, 9, 12))
    scaled = [[run[i] / np.sqrt(cells[i] + 1) for i in other] for run in (one, other)]
    expected = stats.ttest_rel(*scaled, alternative="greater").pvalue
    assert p_value_worse(one, other, alone(one), cells) == pytest.approx(expected)
    assert p_value_worse(one, one, alone(one), cells) == 1.0


@pytest.mark.parametrize("pictures", [3, 6, 7, 12])
def test_a_difference_that_is_the_same_in_all_pictures_has_the_p_of_the_sign_test(pictures):
    """Of three pictures with as many cells, each one cell further off, the t test is certain."""
    best, one, cells = (named([value] * pictures) for value in (2.0, 3.0, 24.0))
    p = stats.binomtest(pictures, pictures, alternative="greater").pvalue
    assert p_value_worse(one, best, alone(one), cells) == pytest.approx(p)
    assert p_value_worse(best, one, alone(one), cells) == 1.0
    assert clearly_worse(one, best, alone(one), cells) == (pictures >= 7)


def test_only_what_cannot_be_told_from_the_best_is_as_good():
    rng = np.random.default_rng(2)
    base = rng.gamma(2, 1, 16)
    errors = {
        "best": named(base),
        "near": named(base + rng.normal(0.05, 0.5, 16)),
        "worse": named(base + 3 + rng.normal(0, 0.5, 16)),
    }
    known = alone(errors["best"]), named(np.full(16, 20))
    assert as_good_as_best(errors, *known) == {"best": True, "near": True, "worse": False}
    assert clearly_worse(errors["worse"], errors["best"], *known)
    assert not clearly_worse(errors["best"], errors["worse"], *known)
    assert not clearly_worse(errors["near"], errors["best"], *known)


def test_without_a_curve_three_times_as_many_pictures_more_halve_the_interval():
    assert pictures_to_halve(16, 0.0) == 48
    assert pictures_to_halve(16, 0.5) == 16
    assert learning_curve_exponent(5, 10, 4.0, 2.0) == pytest.approx(1.0)
    assert learning_curve_exponent(5, 10, 4.0, 4.0 / np.sqrt(2)) == pytest.approx(0.5)
    assert learning_curve_exponent(5, 10, 2.0, 3.0) == 0.0
    assert learning_curve_exponent(10, 10, 2.0, 1.0) == 0.0


def test_errors_of_a_picture_that_was_tested_twice_are_averaged():
    images = [
        {"id": "a", "truth": 3, "prediction": 5.0},
        {"id": "a", "truth": 3, "prediction": 2.0},
        {"id": "b", "truth": 0, "prediction": 0.0},
    ]
    assert absolute_errors(images) == {"a": 1.5, "b": 0.0}

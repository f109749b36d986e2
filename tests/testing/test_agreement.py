"""Claims about the comparison that other tests lean on: rounding passes, an error does not."""

import numpy as np
import pytest

from cellbench.structures import Prediction
from cellbench.testing.agreement import assert_same_candidates


def candidates(points, scores):
    scores = np.asarray(scores, np.float32)
    return Prediction(float(len(scores)), np.asarray(points, np.float32).reshape(-1, 2), scores)


MANY = np.random.default_rng(0).uniform(0, 60, (200, 2))
SCORES = np.random.default_rng(1).uniform(0.1, 1, 200)
EXPECTED = candidates(MANY, SCORES)


def test_rounding_and_another_order_agree():
    order = np.random.default_rng(2).permutation(200)
    assert_same_candidates(candidates(MANY[order] + 4e-6, SCORES[order] - 1e-7), EXPECTED)
    assert_same_candidates(candidates([], []), candidates([], []))


@pytest.mark.parametrize(
    ("points", "scores"),
    [
        (MANY + [[0.01, 0]] * (np.arange(200) == 7)[:, None], SCORES),  # one point moved
        (MANY, SCORES + 1e-3 * (np.arange(200) == 7)),  # one score changed
        (MANY[1:], SCORES[1:]),  # one candidate lost
        (MANY[[*range(200), 0]], SCORES[[*range(200), 0]]),  # one twice
        (MANY[[0, *range(199)]], SCORES[[0, *range(199)]]),  # one instead of another
        ([], []),
    ],
)
def test_one_wrong_candidate_is_an_error(points, scores):
    for pair in ((candidates(points, scores), EXPECTED), (EXPECTED, candidates(points, scores))):
        with pytest.raises(AssertionError, match="without a counterpart"):
            assert_same_candidates(*pair, floor=0.05)


def test_a_candidate_at_the_floor_may_be_there_or_not_and_another_only_as_a_tie():
    floor = float(EXPECTED.scores[0])
    assert_same_candidates(candidates(MANY[1:], SCORES[1:]), EXPECTED, floor=floor)
    assert_same_candidates(candidates(MANY[2:], SCORES[2:]), EXPECTED, floor=floor, ties=1)
    with pytest.raises(AssertionError, match="without a counterpart"):
        assert_same_candidates(candidates(MANY[3:], SCORES[3:]), EXPECTED, floor=floor, ties=1)

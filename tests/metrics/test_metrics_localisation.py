"""Claims about pairing points, against brute force over all pairings and SciPy's assignment."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from cellbench.metrics.localisation import (
    Detection,
    detect,
    detect_over_radii,
    match_points,
    matches_by_rank,
    near_pairs,
    pool,
)

NONE = np.zeros((0, 2), dtype=np.float32)
SMALL = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=5)


def distances(a, b):
    a, b = np.asarray(a, float).reshape(-1, 2), np.asarray(b, float).reshape(-1, 2)
    return np.sqrt(np.square(a[:, None] - b[None]).sum(-1))


def brute_best(predicted, truth, radius):
    """Most pairs and least total over all injective pairings."""
    d = distances(predicted, truth)
    if d.shape[0] > d.shape[1]:
        d = d.T
    best = (0, 0.0)
    for columns in itertools.permutations(range(d.shape[1]), d.shape[0]):
        pairs = [d[i, j] for i, j in enumerate(columns) if d[i, j] <= radius]
        best = min(best, (-len(pairs), sum(pairs)))
    return -best[0], best[1]


def quality(predicted, truth, rows, columns):
    d = distances(predicted, truth)[rows, columns]
    return len(rows), d.sum()


@settings(max_examples=200, deadline=None)
@given(SMALL, SMALL, st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0, 20.0]))
def test_most_pairs_then_least_distance_as_brute_force_finds(predicted, truth, radius):
    rows, columns = match_points(np.reshape(predicted, (-1, 2)), np.reshape(truth, (-1, 2)), radius)
    pairs, total = brute_best(predicted, truth, radius)
    assert len(rows) == pairs
    if pairs:
        assert quality(predicted, truth, rows, columns)[1] == pytest.approx(total)


@pytest.mark.parametrize("spacing", [3.0, 6.0, 12.0])
@pytest.mark.parametrize("n", [40, 400, 900])
def test_as_good_as_scipys_dense_assignment_of_clipped_distances(n, spacing):
    rng = np.random.default_rng(n)
    side = spacing * np.sqrt(n)
    truth = rng.uniform(0, side, (n, 2)).astype(np.float32)
    predicted = np.concatenate([truth[: n - n // 8] + rng.normal(0, 3, (n - n // 8, 2)), truth[:9]])
    d = distances(predicted, truth)
    radius = 4.0
    allowed = d <= radius
    r, c = linear_sum_assignment(np.where(allowed, d, 1e6))
    kept = allowed[r, c]
    rows, columns = match_points(predicted, truth, radius)
    assert len(rows) == kept.sum()
    assert d[rows, columns].sum() == pytest.approx(d[r, c][kept].sum())


def test_two_cells_never_share_a_prediction():
    rng = np.random.default_rng(0)
    predicted, truth = rng.uniform(0, 30, (80, 2)), rng.uniform(0, 30, (90, 2))
    rows, columns = match_points(predicted, truth, 5)
    assert len(set(rows)) == len(rows)
    assert len(set(columns)) == len(columns)
    assert (np.diff(rows) > 0).all()
    assert (distances(predicted, truth)[rows, columns] <= 5).all()


def test_a_pair_is_not_given_up_for_a_shorter_one():
    # The middle prediction is nearest to the left cell, which the left one alone can have.
    predicted, truth = [[0.0, 0], [5.0, 0]], [[4.0, 0], [9.0, 0]]
    rows, columns = match_points(predicted, truth, 4)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 0), (1, 1)]


def test_two_cells_in_one_pixel_need_two_predictions():
    twice = np.array([[2.5, 2.5], [2.5, 2.5]], dtype=np.float32)
    assert len(match_points(twice[:1], twice, 1)[0]) == 1
    assert len(match_points(twice, twice, 0)[0]) == 2


def test_the_radius_itself_is_allowed():
    assert len(match_points([[3.0, 4.0]], [[0.0, 0.0]], 5.0)[0]) == 1
    assert len(match_points([[3.0, 4.001]], [[0.0, 0.0]], 5.0)[0]) == 0


@pytest.mark.parametrize(("predicted", "truth"), [(NONE, NONE), (NONE, [[1, 1]]), ([[1, 1]], NONE)])
def test_nothing_to_pair_is_empty(predicted, truth):
    rows, columns = match_points(predicted, truth, 5)
    assert rows.shape == columns.shape == (0,)
    assert rows.dtype == columns.dtype == np.int64


def test_pairing_does_not_depend_on_where_the_image_lies():
    rng = np.random.default_rng(3)
    predicted, truth = rng.integers(0, 100, (60, 2)), rng.integers(0, 100, (60, 2))
    shifted = match_points(predicted + 4096, truth + 4096, 9)
    for a, b in zip(match_points(predicted, truth, 9), shifted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_pile_of_predictions_on_a_field_of_cells_is_solved():
    rng = np.random.default_rng(4)
    truth = rng.uniform(0, 8, (150, 2))
    pile = np.full((1400, 2), 4.0)
    assert len(match_points(pile, truth, 6)[0]) == (distances(pile[:1], truth) <= 6).sum()


def test_a_bad_radius_is_refused():
    for radius in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="radius"):
            match_points([[0, 0]], [[0, 0]], radius)


def test_a_whole_slide_takes_seconds_not_minutes():
    rng = np.random.default_rng(5)
    truth = rng.uniform(0, 12 * np.sqrt(100_000), (100_000, 2)).astype(np.float32)
    predicted = (truth + rng.normal(0, 3, truth.shape)).astype(np.float32)
    start = time.process_time()
    rows, _ = match_points(predicted, truth, 4)
    assert 50_000 < len(rows) < 90_000
    assert time.process_time() - start < 10  # measured: 0.4


def test_near_pairs_are_all_pairs_within_the_radius():
    rng = np.random.default_rng(6)
    predicted, truth = rng.integers(0, 20, (50, 2)), rng.integers(0, 20, (40, 2))
    rows, columns, distance = near_pairs(predicted, truth, 5)
    d = distances(predicted, truth)
    np.testing.assert_array_equal(np.argwhere(d <= 5), np.stack([rows, columns], 1))
    np.testing.assert_allclose(distance, d[rows, columns])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=25),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=15),
    st.sampled_from([1.0, 2.5, 5.0]),
)
def test_the_first_k_predictions_gain_as_many_pairs_as_matching_them_finds(
    predicted, truth, radius
):
    predicted, truth = np.reshape(predicted, (-1, 2)), np.reshape(truth, (-1, 2))
    gained = np.cumsum(matches_by_rank(predicted, truth, radius))
    for k in range(1, len(predicted) + 1):
        assert gained[k - 1] == len(match_points(predicted[:k], truth, radius)[0])


def test_pooled_scores_by_hand():
    pooled = pool([Detection(tp=8, fp=2, fn=0), Detection(tp=0, fp=0, fn=6)])
    assert (pooled.tp, pooled.fp, pooled.fn) == (8, 2, 6)
    assert pooled.precision == 0.8
    assert pooled.recall == pytest.approx(8 / 14)
    assert pooled.f1 == pytest.approx(2 * 0.8 * (8 / 14) / (0.8 + 8 / 14))


def test_what_has_no_value_is_none():
    assert (pool([]).precision, pool([]).recall, pool([]).f1) == (None, None, None)
    assert detect(NONE, [[1, 1]], 3).precision is None
    assert detect(NONE, [[1, 1]], 3).f1 == 0
    assert detect([[1, 1]], NONE, 3).recall is None
    assert detect([[1, 1]], NONE, 3).f1 == 0


def test_a_wider_radius_never_loses_a_pair():
    rng = np.random.default_rng(7)
    truth = [rng.uniform(0, 50, (40, 2)), NONE, rng.uniform(0, 50, (1, 2))]
    predicted = [rng.uniform(0, 50, (35, 2)), rng.uniform(0, 50, (3, 2)), NONE]
    found = detect_over_radii(predicted, truth, [1, 2, 4, 8, 100])
    pairs = [d.tp for d in found]
    assert pairs == sorted(pairs)
    assert pairs[-1] == 35
    assert all(d.tp + d.fn == 41 and d.tp + d.fp == 38 for d in found)

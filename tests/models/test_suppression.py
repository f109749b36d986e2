import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellbench.models.suppression import best_of_neighbours, merge_neighbours


def one_by_one(points, scores, radius):
    """From the best to the worst, as the definition goes."""
    stays = np.zeros(len(points), dtype=bool)
    for index in sorted(range(len(points)), key=lambda i: (-scores[i], i)):
        apart = np.linalg.norm(points[stays] - points[index], axis=1)
        stays[index] = not (apart <= radius).any()
    return stays


@given(
    st.integers(0, 60).flatmap(
        lambda n: st.tuples(
            arrays(np.float64, (n, 2), elements=st.integers(0, 12).map(float)),
            arrays(np.float64, n, elements=st.integers(0, 4).map(float)),
        )
    ),
    st.sampled_from([0.0, 1.0, 1.5, 3.0, 40.0]),
)
def test_it_is_what_going_from_the_best_to_the_worst_gives(given_, radius):
    points, scores = given_
    found = best_of_neighbours(points, scores, radius)
    assert found.tolist() == one_by_one(points, scores, radius).tolist()


def test_a_long_chain_of_falling_scores_leaves_every_second_one():
    points = np.stack([np.arange(2000.0), np.zeros(2000)], axis=1)
    found = best_of_neighbours(points, -np.arange(2000.0), 1.0)
    assert found.nonzero()[0].tolist() == list(range(0, 2000, 2))


@pytest.mark.parametrize("radius", [0.0, 5.0])
def test_no_candidate_is_no_candidate(radius):
    assert best_of_neighbours(np.zeros((0, 2)), np.zeros(0), radius).shape == (0,)


def added_one_by_one(points, scores, radius):
    """Each worse candidate goes to the nearest better one, the first of equally near ones."""
    stays = one_by_one(points, scores, radius)
    groups = {index: [] for index in stays.nonzero()[0]}
    for index, point in enumerate(points):
        nearest = min(groups, key=lambda kept: np.linalg.norm(points[kept] - point))
        groups[nearest].append(index)
    sums = [min(1.0, sum(scores[member] for member in members)) for members in groups.values()]
    means = [
        np.average(points[members], axis=0, weights=scores[members]) for members in groups.values()
    ]
    return np.reshape(means, (-1, 2)), np.array(sums)


@given(st.integers(0, 60), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 1.5, 30.0]))
def test_scores_are_added_and_points_averaged_as_the_definition_goes(number, seed, radius):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 10, (number, 2)).astype(np.float32)
    scores = rng.uniform(0.01, 0.6, number).astype(np.float32)
    moved, sums = merge_neighbours(points, scores, radius)
    means, wanted = added_one_by_one(points, scores, radius)
    assert moved.dtype == sums.dtype == np.float32
    np.testing.assert_allclose(moved, means, atol=1e-4)
    np.testing.assert_allclose(sums, wanted, atol=1e-6)


def test_no_score_is_lost_below_one():
    rng = np.random.default_rng(3)
    points = rng.uniform(0, 100, (500, 2)).astype(np.float32)
    scores = rng.uniform(0, 0.05, 500).astype(np.float32)
    _, sums = merge_neighbours(points, scores, 3.0)
    assert len(sums) < 500
    assert sums.sum() == pytest.approx(scores.sum(), rel=1e-5)


def test_two_sure_candidates_of_one_place_are_one_sure_cell():
    points = np.array([[4, 4], [4, 4], [20, 4]], dtype=np.float32)
    moved, sums = merge_neighbours(points, np.array([0.9, 0.8, 0.3], dtype=np.float32), 2.0)
    assert moved.tolist() == [[4, 4], [20, 4]]
    assert sums.tolist() == [1.0, pytest.approx(0.3)]


def test_candidates_without_any_score_stay_where_the_first_is():
    points = np.array([[4, 4], [5, 4]], dtype=np.float32)
    moved, sums = merge_neighbours(points, np.zeros(2, dtype=np.float32), 2.0)
    assert (moved.tolist(), sums.tolist()) == ([[4, 4]], [0])

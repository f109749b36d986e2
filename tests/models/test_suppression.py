import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellbench.models.suppression import best_of_neighbours


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

"""Claims about count metrics, against hand-made numbers and re-derived formulas."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellbench.metrics import counting
from cellbench.metrics.counting import game

COUNTS = st.lists(
    st.tuples(st.integers(0, 500), st.floats(-10, 600, allow_nan=False)), min_size=1, max_size=30
)


def test_hand_computed_errors():
    truth, prediction = [10, 20, 30], [12.0, 17.0, 30.5]
    assert counting.mae(truth, prediction) == pytest.approx(5.5 / 3)
    assert counting.rmse(truth, prediction) == pytest.approx(math.sqrt((4 + 9 + 0.25) / 3))
    assert counting.bias(truth, prediction) == pytest.approx(-0.5 / 3)
    assert counting.mape(truth, prediction).percent == pytest.approx(
        100 * (0.2 + 0.15 + 0.5 / 30) / 3
    )
    assert counting.r2(truth, prediction) == pytest.approx(1 - 13.25 / 200)


@given(COUNTS)
def test_errors_agree_with_plain_python(pairs):
    truth, prediction = [g for g, _ in pairs], [p for _, p in pairs]
    errors = [p - g for g, p in pairs]
    n = len(pairs)
    assert counting.mae(truth, prediction) == pytest.approx(math.fsum(map(abs, errors)) / n)
    assert counting.rmse(truth, prediction) == pytest.approx(
        math.sqrt(math.fsum(e * e for e in errors) / n)
    )
    assert counting.bias(truth, prediction) == pytest.approx(math.fsum(errors) / n, abs=1e-9)
    assert counting.mae(truth, prediction) <= counting.rmse(truth, prediction) + 1e-9


def test_without_images_nothing_is_known():
    assert counting.mae([], []) is None
    assert counting.rmse([], []) is None
    assert counting.bias([], []) is None
    assert counting.r2([], []) is None
    assert counting.bland_altman([], []) is None
    assert counting.mape([], []) == counting.RelativeError(None, 0, None)


def test_one_false_cell_on_an_empty_image_leaves_mape_alone():
    found = counting.mape([0, 10], [1, 11])
    assert found == counting.RelativeError(percent=pytest.approx(10), empty_images=1, empty_mae=1.0)


def test_all_images_empty():
    assert counting.mape([0, 0], [3, 0]) == counting.RelativeError(None, 2, 1.5)
    assert counting.r2([0, 0], [3, 0]) is None


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        ([1, 2, 3], [1, 2, 3], 1.0),
        ([1, 2, 3], [2, 2, 2], 0.0),
        ([1, 2, 3], [3, 2, 1], -3.0),  # perfectly correlated, and wrong
        ([5, 5, 5], [5, 5, 5], None),
        ([5], [4], None),
    ],
)
def test_r2_is_the_coefficient_of_determination(truth, prediction, expected):
    assert counting.r2(truth, prediction) == (None if expected is None else pytest.approx(expected))


def test_bland_altman_by_hand():
    found = counting.bland_altman([10, 10, 10], [11, 12, 13])
    assert (found.bias, found.low, found.high) == pytest.approx((2, 2 - 1.96, 2 + 1.96))
    assert counting.bland_altman([10], [11]) is None


def test_different_numbers_of_images_are_refused():
    with pytest.raises(ValueError, match="2 true counts"):
        counting.mae([1, 2], [1])


def brute_game(truth, predicted, size, level):
    """Every grid cell is asked which points it holds, in exact integers where points are."""
    n = 2**level
    total = 0
    for row in range(n):
        for column in range(n):
            counts = [
                sum(
                    column * size[0] <= x * n < (column + 1) * size[0]
                    and row * size[1] <= y * n < (row + 1) * size[1]
                    for x, y in points
                )
                for points in (truth, predicted)
            ]
            total += abs(counts[0] - counts[1])
    return total


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [(150, 150), (101, 37), (7, 5), (1, 1)])
def test_game_of_points_equals_asking_every_cell(level, size):
    rng = np.random.default_rng(level)
    for _ in range(5):
        truth = rng.integers(0, 2 * np.array(size), (30, 2)) / 2
        predicted = rng.integers(0, 2 * np.array(size), (20, 2)) / 2
        expected = brute_game(truth.tolist(), predicted.tolist(), size, level)
        assert game(truth, size=size, level=level, points=predicted) == expected


def test_a_cell_on_a_grid_line_falls_to_the_cell_that_it_opens():
    on_the_line, right, left = [[50.0, 10.0]], [[99.0, 10.0]], [[49.5, 10.0]]
    assert game(on_the_line, size=(100, 100), level=1, points=right) == 0
    assert game(on_the_line, size=(100, 100), level=1, points=left) == 2


def test_game_zero_is_the_absolute_error_even_with_points_outside():
    outside = [[-3.0, 5.0], [100.0, 100.0], [250.0, -1.0]]
    assert game([[5.0, 5.0]], size=(100, 100), level=0, points=outside) == 2
    assert game(np.zeros((0, 2)), size=(100, 100), level=3, points=outside) == 3


def test_game_grows_with_the_level():
    rng = np.random.default_rng(0)
    truth, predicted = rng.uniform(0, 99, (40, 2)), rng.uniform(0, 99, (33, 2))
    values = [game(truth, size=(99, 99), level=n, points=predicted) for n in range(5)]
    assert values == sorted(values)
    assert values[0] == 7


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8), (19, 13), (64, 64)])
def test_game_of_density_equals_a_fine_map_summed_by_cell(shape):
    density = np.random.default_rng(1).random(shape).astype(np.float32)
    n = 4
    # Every density pixel divided evenly into n x n: the grid lines then fall between pixels.
    fine = np.repeat(np.repeat(density.astype(float), n, 0), n, 1) / n**2
    rows, columns = shape
    grid = fine.reshape(n, rows, n, columns).sum(axis=(1, 3))
    truth = [[0.5, 0.5], [99.5, 99.5]]
    grid[0, 0] -= 1
    grid[3, 3] -= 1
    found = game(truth, size=(100, 100), level=2, density=density)
    assert found == pytest.approx(np.abs(grid).sum())


def test_game_of_density_loses_nothing():
    density = np.random.default_rng(2).random((37, 53))
    none = np.zeros((0, 2))
    for level in range(4):
        assert game(none, size=(530, 370), level=level, density=density) == pytest.approx(
            density.sum()
        )


def test_nothing_predicted_in_nothing_has_no_error():
    none = np.zeros((0, 2), dtype=np.float32)
    assert game(none, size=(10, 10), level=3, points=none) == 0
    assert game(none, size=(10, 10), level=3, density=np.zeros((2, 2))) == 0


def test_game_wants_points_or_density():
    with pytest.raises(ValueError, match="either"):
        game([[1, 1]], size=(10, 10), level=1)

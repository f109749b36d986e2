"""The redundant count map against a count of dots window by window."""

import numpy as np
import pytest
import torch

from cellbench.errors import PartError
from cellbench_plugins.targets.redundant import RedundantCount


def made(points, width, height, window=32):
    sizes = torch.tensor([[width, height]])
    grid = (height + window, width + window)
    points = torch.as_tensor(points, dtype=torch.float32).reshape(-1, 2)
    return RedundantCount(window=window).make([points], sizes, grid, stride=1, scale=1.0)[0, 0]


def by_hand(points, width, height, window):
    """Each dot in each window that holds it; a window's first and last px weigh one half."""
    wanted = np.zeros((height + window, width + window))
    weights = np.ones(window + 1)
    weights[[0, -1]] = 0.5
    for x, y in points:
        column, row = int(x), int(y)
        wanted[row : row + window + 1, column : column + window + 1] += np.outer(weights, weights)
    return wanted


def test_every_place_holds_the_dots_of_its_window():
    rng = np.random.default_rng(0)
    points = rng.random((30, 2)) * [21, 13]
    np.testing.assert_array_equal(made(points, 21, 13, 8).numpy(), by_hand(points, 21, 13, 8))


@pytest.mark.parametrize("x", [0.0, 0.5, 31.0, 49.99])
@pytest.mark.parametrize("y", [0.0, 17.5, 39.99])
def test_a_dot_anywhere_sums_to_1024_exactly(x, y):
    assert float(made([[x, y]], 50, 40).sum(dtype=torch.float64)) == 1024.0


def test_an_empty_image_has_an_empty_map():
    assert not made([], 20, 10).any()


def test_images_of_two_sizes_are_zero_beyond_their_windows():
    sizes = torch.tensor([[40, 20], [24, 40]])
    corners = [torch.tensor([[39.9, 19.9]]), torch.tensor([[23.9, 39.9]])]
    maps = RedundantCount().make(corners, sizes, (72, 72), stride=1, scale=1.0)
    assert maps.sum(dim=(1, 2, 3)).tolist() == [1024.0, 1024.0]
    assert not maps[0, 0, 20 + 32 :].any()
    assert not maps[1, 0, :, 24 + 32 :].any()


def test_a_grid_that_ends_with_the_image_is_refused():
    with pytest.raises(ValueError, match="does not reach"):
        RedundantCount().make(
            [torch.zeros(0, 2)], torch.tensor([[64, 64]]), (64, 64), stride=1, scale=1.0
        )


@pytest.mark.parametrize("window", [0, 7, -2])
def test_a_window_is_an_even_number_of_px(window):
    with pytest.raises(PartError, match="even number"):
        RedundantCount(window=window)

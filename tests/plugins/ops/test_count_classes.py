import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from cellbench_plugins._ops.count_classes import (
    block_counts,
    class_bounds,
    class_of,
    class_values,
)


def slow_class(count):
    """The published intervals, looked through one by one."""
    if count == 0:
        return 0
    if count <= math.exp(-2):
        return 1
    for index in range(2, 57):
        if math.exp(0.1 * (index - 2) - 2) < count <= math.exp(0.1 * (index - 1) - 2):
            return index
    return 56


@given(st.floats(0, 40, width=32))
def test_a_count_is_in_the_class_whose_interval_holds_it(count):
    wanted = slow_class(count)
    edges = [math.exp(0.1 * (index - 1) - 2) for index in range(1, 57)]
    if min(abs(count - edge) for edge in edges) < 1e-5:
        return  # float32 cannot tell on which side of a bound it lies
    assert int(class_of(torch.tensor([count]), class_bounds())) == wanted


def test_a_class_counts_as_the_middle_of_its_interval():
    values = class_values()
    assert len(values) == 57
    assert values[0] == 0
    assert values[1] == pytest.approx(math.exp(-2) / 2)
    assert values[20] == pytest.approx((math.exp(-0.2) + math.exp(-0.1)) / 2)
    assert values[56] == pytest.approx((math.exp(3.4) + math.exp(3.5)) / 2)
    assert class_of(values, class_bounds()).tolist() == list(range(57))


def test_no_class_is_off_by_more_than_a_twentieth():
    counts = torch.linspace(0.2, 33, 3000)
    found = class_values()[class_of(counts, class_bounds())]
    assert float(((found - counts).abs() / counts).max()) < 0.0526


@pytest.mark.parametrize("sigma", [0.0, 1.0, 4.0, 30.0])
def test_blocks_of_an_image_sum_to_its_cells_also_at_its_border(sigma):
    corners = torch.tensor([[0.0, 0.0], [74.9, 39.9], [0.1, 39.5], [31.99, 32.0]])
    sizes = torch.tensor([[75, 40], [96, 64]])
    found = block_counts([corners, torch.zeros(0, 2)], sizes, (2, 3), block_px=32, sigma_px=sigma)
    assert found.shape == (2, 2, 3)
    assert float(found[0].sum()) == pytest.approx(4, abs=1e-4)
    assert float(found[1].sum()) == 0


def test_dots_lie_in_the_half_open_block_that_holds_them():
    points = torch.tensor([[31.99, 0.0], [32.0, 31.99], [32.0, 32.0]])
    found = block_counts([points], torch.tensor([[64, 64]]), (2, 2), block_px=32)
    assert found[0].tolist() == [[1, 1], [0, 1]]


def test_a_spread_cell_is_shared_as_a_normal_distribution_cut_at_the_border():
    found = block_counts(
        [torch.tensor([[30.0, 60.0]])], torch.tensor([[64, 70]]), (3, 2), block_px=32, sigma_px=5.0
    )
    across = norm.cdf([0, 32, 64], 30, 5)
    down = norm.cdf([0, 32, 64, 70], 60, 5)
    for row in range(3):
        for column in range(2):
            wanted = (down[row + 1] - down[row]) * (across[column + 1] - across[column])
            wanted /= (down[-1] - down[0]) * (across[-1] - across[0])
            assert float(found[0, row, column]) == pytest.approx(wanted, abs=1e-5)

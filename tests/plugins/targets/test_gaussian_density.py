"""Density targets keep every cell whole, at any stride, and are what blurring dots would give."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from cellbench.errors import PartError
from cellbench_plugins.targets.gaussian import GaussianDensity


def made(points, size, *, stride=1, scale=1.0, padding=0, **options):
    width, height = size
    grid = (-(-height // stride) + padding, -(-width // stride) + padding)
    points = torch.as_tensor(points, dtype=torch.float32).reshape(-1, 2)
    target = GaussianDensity(**options)
    maps = target.make([points], torch.tensor([size]), grid, stride=stride, scale=scale)
    return maps[0, 0].double().numpy()


def test_far_from_the_border_it_is_the_blurred_map_of_dots():
    dots = np.zeros((64, 64))
    dots[30, 22] = dots[31, 40] = dots[33, 41] = 1
    points = [(22.5, 30.5), (40.5, 31.5), (41.5, 33.5)]
    # a cell holds the integral over its square, which adds the variance of a square: 1/12
    expected = gaussian_filter(dots, math.sqrt(3.0**2 + 1 / 12), truncate=6)
    np.testing.assert_allclose(made(points, (64, 64), sigma=3.0, truncate=6.0), expected, atol=2e-6)


def test_a_cell_of_the_map_holds_the_integral_over_its_square():
    found = made([(13.2, 9.9)], (32, 24), stride=4, sigma=2.0, truncate=9.0)
    along_x = np.diff(norm.cdf((np.arange(9) * 4 - 13.2) / 2.0))
    along_y = np.diff(norm.cdf((np.arange(7) * 4 - 9.9) / 2.0))
    expected = np.outer(along_y / along_y.sum(), along_x / along_x.sum())
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("coarse", [2, 4, 8])
def test_a_coarse_map_is_the_fine_one_summed_over_blocks(coarse):
    points = np.random.default_rng(0).random((50, 2)) * 64
    fine, found = made(points, (64, 64)), made(points, (64, 64), stride=coarse)
    blocks = fine.reshape(64 // coarse, coarse, 64 // coarse, coarse).sum(axis=(1, 3))
    np.testing.assert_allclose(found, blocks, atol=1e-6)


@given(
    points=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=20),
    size=st.tuples(st.integers(3, 70), st.integers(3, 70)),
    stride=st.sampled_from([1, 2, 4, 8]),
    scale=st.sampled_from([0.5, 1.0, 1.5]),
    options=st.sampled_from(
        [{"sigma": 0.01}, {"sigma": 2.0}, {"sigma": 60.0}, {"adaptive": 0.3}, {"truncate": 0.5}]
    ),
)
def test_it_sums_to_the_points_and_is_nothing_in_padding(points, size, stride, scale, options):
    cells = np.array(points).reshape(-1, 2) * size
    found = made(cells, size, stride=stride, scale=scale, padding=2, **options)
    assert abs(found.sum() - len(points)) < 1e-5 * max(1, len(points))
    assert (found >= 0).all()
    assert (found[-2:] == 0).all()
    assert (found[:, -2:] == 0).all()


def test_beyond_the_truncation_there_is_nothing():
    found = made([(32.0, 32.0)], (64, 64), sigma=2.0, truncate=3.0)
    rows, columns = np.nonzero(found)
    assert rows.min() == columns.min() == 26
    assert rows.max() == columns.max() == 37


def test_cut_to_15_px_it_is_the_kernel_of_public_code_for_crowds():
    # 15 x 15 samples of a Gaussian of 4 px, divided by their sum
    samples = np.exp(-(np.arange(-7, 8) ** 2) / (2 * 4.0**2))
    kernel = np.outer(samples, samples) / samples.sum() ** 2
    found = made([(16.5, 16.5)], (33, 33), sigma=4.0, truncate=1.875)
    assert (np.delete(found, np.s_[9:24], axis=0) == 0).all()
    np.testing.assert_allclose(found[9:24, 9:24], kernel, rtol=0.02)


def test_the_deviation_is_in_px_of_the_original_image():
    half = made([(16.0, 16.0)], (32, 32), scale=0.5, sigma=4.0)
    np.testing.assert_allclose(half, made([(16.0, 16.0)], (32, 32), sigma=2.0), atol=1e-9)


def test_an_adaptive_deviation_follows_the_three_nearest():
    cells = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 20.0], [0.0, -30.0], [90.0, 90.0]])
    target = GaussianDensity(adaptive=0.3, most=20.0)
    found = target.deviations(cells.double(), scale=1.0)
    assert float(found[0]) == pytest.approx(0.3 * (10 + 20 + 30) / 3)
    assert float(found[4]) == 20.0


def test_of_fewer_neighbours_all_are_asked_and_a_lone_cell_takes_sigma():
    target = GaussianDensity(sigma=5.0, adaptive=0.5)
    pair = torch.tensor([[0.0, 0.0], [6.0, 8.0]], dtype=torch.float64)
    assert target.deviations(pair, scale=1.0).tolist() == [5.0, 5.0]
    assert target.deviations(pair[:1], scale=2.0).tolist() == [10.0]
    assert target.deviations(pair * 0, scale=1.0).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "options",
    [{"sigma": 0.0}, {"adaptive": -1.0}, {"least": 0.0}, {"most": 0.5}, {"neighbours": 0}],
)
def test_lengths_that_are_none_are_refused(options):
    with pytest.raises(PartError, match="sigma, adaptive, least"):
        GaussianDensity(**options)


def test_a_crowd_is_made_without_a_loop_over_cells():
    points = torch.rand(5000, 2) * 600
    target = GaussianDensity(sigma=3.0)
    (found,) = target.make([points], torch.tensor([[600, 600]]), (300, 300), stride=2, scale=1.0)
    assert math.isclose(float(found.double().sum()), 5000, abs_tol=1e-2)

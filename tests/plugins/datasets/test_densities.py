"""Cells read back from density maps, against maps made by SciPy from known dots."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment

from cellbench.errors import UserError
from cellbench_plugins.datasets._densities import find_cells


def made(pixels, shape=(64, 80), sigma=2.0):
    """The density map of cells in pixels (column, row), and their centres."""
    dots = np.zeros(shape)
    for column, row in pixels:
        dots[row, column] += 1
    return gaussian_filter(dots, sigma), np.array(pixels, float).reshape(-1, 2) + 0.5


def farthest(points, centres):
    """The greatest distance of the pairs that lie nearest to each other, px."""
    assert len(points) == len(centres)
    far = np.linalg.norm(points[:, None] - centres[None], axis=-1)
    return far[linear_sum_assignment(far)].max(initial=0)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
@pytest.mark.parametrize(
    "pixels",
    [[], [(40, 30)], [(10, 10), (60, 50), (30, 44)], [(20, 20), (20, 20)], [(79, 63), (5, 40)]],
    ids=["none", "one", "three", "two-in-a-pixel", "on-the-border"],
)
def test_cells_are_found_where_they_were(pixels, sigma):
    density, centres = made(pixels, sigma=sigma)
    found = find_cells(density.astype(np.float32), name="map")
    assert found.points.dtype == np.float32
    assert (
        farthest(found.points, centres) < 0.75
    )  # in a corner a bump is flat: the border reflects it
    assert found.left < 0.02
    assert (found.points >= 0).all()
    assert (found.points < [80, 64]).all()


def test_cells_that_crowd_are_mostly_found_within_a_pixel():
    rng = np.random.default_rng(0)
    pixels = [tuple(p) for p in (rng.normal([64, 64], 20, (60, 2)).clip(0, 127)).astype(int)]
    density, centres = made(pixels, (128, 128))
    points = find_cells(density, name="map").points
    far = np.linalg.norm(points[:, None] - centres[None], axis=-1)
    assert np.quantile(far[linear_sum_assignment(far)], 0.9) < 1


def test_a_map_that_was_squeezed_in_one_direction_keeps_its_cells():
    density, centres = made([(12, 10), (40, 33), (70, 55)], sigma=(3.0, 1.5))
    assert farthest(find_cells(density, name="map").points, centres) < 0.1


@pytest.mark.parametrize(
    ("density", "said"),
    [
        (np.full((8, 8), np.nan), "numbers below 0 or none"),
        (np.full((8, 8), -1.0), "numbers below 0"),
        (np.full((8, 8), 1e6), "more than 5000"),
        (np.zeros((8, 8, 3)), "has height and width"),
        (np.zeros((0, 8)), "has height and width"),
        (100 * made([(20, 20), (50, 40)])[0], "bumps of about 100 cells"),
        (np.eye(64) / 2, "no sum of Gaussians"),
    ],
)
def test_what_is_no_density_of_cells_is_refused(density, said):
    with pytest.raises(UserError, match=said):
        find_cells(density, name="map")


def test_a_data_set_that_is_looked_up_loads_no_scipy():
    """A finished run is shown in about a second, of which SciPy would take half."""
    code = "import sys, cellbench_plugins.datasets.adi; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

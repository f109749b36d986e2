"""Claims about areas of outlines: they agree with the cells that the outlines hold."""

import numpy as np
import pytest
from skimage.draw import polygon2mask

from cellbench.counting.regions_file import Region
from cellbench.data.outline_areas import even_odd_area
from cellbench.data.regions import Outline

SIZE = (100, 80)
BOW = np.array([[10, 10], [30, 30], [30, 10], [10, 30]], float)


def square(x, y, edge=10):
    return np.array([[x, y], [x + edge, y], [x + edge, y + edge], [x, y + edge]], float)


def grid(step):
    x, y = np.meshgrid(np.arange(step / 2, 100, step), np.arange(step / 2, 80, step))
    return np.stack([x, y], axis=-1).reshape(-1, 2)


TOUCHING = {
    "squares that touch in a corner": ([square(10, 10), square(20, 20)], 200),
    "squares that touch where the second starts": (
        [square(10, 10), np.array([[10, 10], [0, 10], [0, 0], [10, 0]], float)], 200),
    "a hole that touches the border at its first corner": (
        [square(10, 10, 20), np.array([[30, 20], [20, 25], [20, 15]], float)], 350),
    "a bow tie": ([BOW], 200),
    "squares that overlap": ([square(10, 10), square(15, 15)], 150),
    "a square beyond two edges": ([square(-5, -5)], 25),
    "all of the picture": ([square(-50, -50, 300)], 8000),
    "a square elsewhere": ([square(200, 20)], 0),
    "no area": ([np.array([[1, 1], [9, 9]], float)], 0),
    "no ring": ([], 0),
}  # fmt: skip


@pytest.mark.parametrize("case", TOUCHING)
def test_rings_that_touch_or_cross_have_the_area_that_holds_cells(case):
    rings, area = TOUCHING[case]
    outline = Outline("a", tuple(rings), SIZE)
    assert outline.area_px == pytest.approx(area)
    assert outline.contains(grid(0.5)).sum() / 4 == pytest.approx(area, rel=0.03)


@pytest.mark.parametrize("seed", range(8))
def test_scribbles_have_the_share_of_the_picture_that_they_hold(seed):
    rng = np.random.default_rng(seed)
    rings = tuple(rng.uniform(-20, 110, (int(n), 2)) for n in rng.integers(3, 30, 3))
    outline = Outline("a", rings, SIZE)
    assert outline.area_px == pytest.approx(outline.contains(grid(0.1)).sum() / 100, rel=0.004)


def test_a_long_simple_outline_has_the_area_of_the_shoelace_formula():
    turn = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
    radius = 30 + 6 * np.sin(40 * turn) + np.random.default_rng(0).normal(0, 0.002, 5000)
    ring = 40 + radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    x, y = ring.T
    shoelace = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    assert even_odd_area([ring]) == pytest.approx(shoelace, rel=1e-9)
    assert even_odd_area([ring]) == pytest.approx(polygon2mask((80, 80), ring).sum(), rel=0.01)


def test_a_scribble_of_a_thousand_corners_is_about_right():
    ring = np.random.default_rng(0).uniform([0, 0], SIZE, (1000, 2))
    outline = Outline("a", (ring,), SIZE)
    assert outline.area_px == pytest.approx(outline.contains(grid(0.3)).sum() * 0.09, rel=0.03)


def test_a_lasso_that_crosses_itself_has_the_area_in_which_it_holds_cells():
    lasso = Region("r", tuple((float(x), float(y)) for x, y in BOW))
    assert lasso.area_px == pytest.approx(200)
    assert lasso.holds(grid(0.5)).sum() / 4 == pytest.approx(200, rel=0.03)

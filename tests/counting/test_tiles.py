"""Claims about tiles of large pictures: every px counts once, with its surroundings around it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellbench.counting.tiles import MARGIN_PX, TILE_PX, integrate_core, tile_axis, tiles


@given(
    length=st.integers(1, 5000),
    margin=st.integers(0, 8).map(lambda n: 32 * n),
    core=st.integers(1, 8).map(lambda n: 32 * n),
)
def test_the_parts_that_count_cover_an_axis_once(length, margin, core):
    tile = core + 2 * margin
    found = tile_axis(length, tile=tile, margin=margin)
    assert [px for tile in found for px in tile.core] == list(range(length))
    for one in found:
        assert len(one.read) <= tile
        # each px that counts is read with its surroundings, as far as the picture has them
        assert one.read.start <= max(0, one.core.start - margin)
        assert one.read.stop >= min(length, one.core.stop + margin)
        assert one.read.start % 32 == 0  # on the grid of the coarsest stride


def test_the_tiles_are_on_the_grid_of_every_stride():
    assert TILE_PX % 32 == 0 == MARGIN_PX % 32
    assert TILE_PX > 2 * MARGIN_PX


def test_a_small_picture_is_one_tile():
    ((x, y),) = tiles((300, 20), whole=6000, tile=64, margin=0)
    assert (x.read, y.read) == (range(300), range(20)) == (x.core, y.core)


def test_tiles_come_row_by_row():
    found = tiles((100, 70), whole=1, tile=64, margin=0)
    assert [(x.core.start, y.core.start) for x, y in found] == [(0, 0), (64, 0), (0, 64), (64, 64)]


@pytest.mark.parametrize("stride", [1, 4, 8])
@pytest.mark.parametrize("size", [(256, 192), (250, 131)])
def test_the_parts_of_a_density_sum_to_the_whole(stride, size):
    """The density of each tile is a smooth function, integrated over the tile's cells."""

    def integral(cut, cells, length):
        edges = np.linspace(cut.read.start, cut.read.stop, cells + 1)
        return np.diff(edges + 10 * np.sin(edges / length * 9))

    width, height = size
    total = 0.0
    for x, y in tiles(size, whole=1, tile=128, margin=32):
        cells = (-(-len(x.read) // stride), -(-len(y.read) // stride))
        along_x, along_y = integral(x, cells[0], width), integral(y, cells[1], height)
        total += integrate_core(np.outer(along_y, along_x), x, y)
    whole = (width + 10 * np.sin(9)) * (height + 10 * np.sin(9))
    # where the last tile's cells are shorter than the stride, a cell can straddle a part's border
    assert total == pytest.approx(whole, rel=1e-9 if size == (256, 192) else 1e-2)


def test_all_of_a_tile_that_counts_whole_is_its_sum():
    rng = np.random.default_rng(0)
    density = rng.random((7, 5)).astype(np.float32)
    (x,), (y,) = tile_axis(37, tile=64, margin=0), tile_axis(55, tile=64, margin=0)
    assert integrate_core(density, x, y) == pytest.approx(density.sum(dtype=np.float64), rel=1e-6)

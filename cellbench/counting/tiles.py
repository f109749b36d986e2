"""Large pictures cut into tiles that overlap, so that no cell is counted at a border of a tile."""

import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

# Input px of a picture that is seen whole: the first maps of a VGG-16 then take half a gigabyte.
WHOLE_PIXELS = 1 << 21
# Edge of a tile, and what it sees beyond the part that counts, in input px; both are multiples of
# every stride, so that a tile's maps lie on the grid of the whole picture's. Twelve images of MBM
# in one, seen whole, had 1694 cells by DLA, and 1693 in tiles of 640 px with margins of 64 to 192.
TILE_PX = 1408
MARGIN_PX = 128


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile along one axis, in input px.

    Attributes:
        start: first px that is seen.
        stop: one past the last.
        first: where the part that counts begins; those of all tiles meet without a gap.
        last: where it ends.
    """

    start: int
    stop: int
    first: int
    last: int


def cuts(length: int, *, tile: int = TILE_PX, margin: int = MARGIN_PX) -> list[Tile]:
    """Tile an axis into tiles whose parts that count cover it once.

    Args:
        length: of the axis, px.
        tile: most px of a tile; more than twice the margin.
        margin: px around the part that counts, but for the ends of the axis.
    """
    if length <= tile:
        return [Tile(0, length, 0, length)]
    step = tile - 2 * margin
    found = [Tile(0, tile, 0, tile - margin)]
    while found[-1].stop < length:
        first = found[-1].last
        stop = min(first + step + margin, length)
        found.append(Tile(first - margin, stop, first, stop if stop == length else first + step))
    return found


def tiles(
    size: tuple[int, int],
    *,
    whole: int = WHOLE_PIXELS,
    tile: int = TILE_PX,
    margin: int = MARGIN_PX,
) -> Iterator[tuple[Tile, Tile]]:
    """The tiles of a picture as cuts along x and y, row by row; a small one is a single tile.

    Args:
        size: (width, height) in input px.
        whole: most px of a picture that is not cut.
        tile: edge of a tile.
        margin: see `cuts`.
    """
    if size[0] * size[1] <= whole:
        tile = max(size)
    across, down = (cuts(length, tile=tile, margin=margin) for length in size)
    return ((x, y) for y, x in product(down, across))


def part_of_sum(density: NDArray[np.floating], x: Tile, y: Tile) -> float:
    """What a tile's density map holds in the part of the tile that counts.

    Args:
        density: (h, w), whose cells tile the tile evenly; a cell that only in part lies there
            gives that share.
        x: the tile along x.
        y: along y.
    """
    along_y, along_x = (
        _shares(length, cut) for length, cut in zip(density.shape, (y, x), strict=True)
    )
    return float(along_y @ density.astype(np.float64) @ along_x)


def release_freed_memory() -> None:
    """Give back what the work on a tile freed: small results in between keep it else, under glibc.

    Without it the hundreds of tiles of a slide take some 8 MB more each.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _shares(cells: int, cut: Tile) -> NDArray[np.float64]:
    """Which share of each of so many cells of equal length lies in the part that counts."""
    edges = np.linspace(cut.start, cut.stop, cells + 1).clip(cut.first, cut.last)
    return np.diff(edges) * cells / (cut.stop - cut.start)

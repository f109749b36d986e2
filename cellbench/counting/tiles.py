"""Overlapping tiles of large pictures; each cell counts in the one tile whose core holds it."""

import ctypes
import os
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

# Most input px that are not divided: the first maps of a VGG-16 then take half a gigabyte.
WHOLE_PIXELS = 1 << 21
# Edge of a tile, and the margin around its core, in input px; both are multiples of every stride,
# so that a tile's maps lie on the grid of the whole picture's. Twelve images of MBM in one picture
# had 1694 cells by DLA undivided, and 1693 in tiles of 640 px with margins of 64 to 192.
TILE_PX = 1408
MARGIN_PX = 128


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile along one axis: two half-open intervals of input px.

    Attributes:
        read: px that the network is given.
        core: px whose cells count, within `read`; those of successive tiles meet without a gap.
    """

    read: range
    core: range


def tile_axis(length: int, *, tile: int = TILE_PX, margin: int = MARGIN_PX) -> list[Tile]:
    """Divide an axis into overlapping tiles whose cores cover it once.

    Args:
        length: of the axis, px.
        tile: most px of a tile; more than twice the margin.
        margin: px around a core, except at the ends of the axis.
    """
    if length <= tile:
        return [Tile(range(length), range(length))]
    step = tile - 2 * margin
    found = [Tile(range(tile), range(tile - margin))]
    while found[-1].read.stop < length:
        first = found[-1].core.stop
        stop = min(first + step + margin, length)
        last = stop if stop == length else first + step
        found.append(Tile(range(first - margin, stop), range(first, last)))
    return found


def tiles(
    size: tuple[int, int],
    *,
    whole: int = WHOLE_PIXELS,
    tile: int = TILE_PX,
    margin: int = MARGIN_PX,
) -> list[tuple[Tile, Tile]]:
    """Divide a picture into tiles along x and y, row by row; a small one is a single tile.

    Args:
        size: (width, height) in input px.
        whole: most px of a picture that is not divided.
        tile: edge of a tile.
        margin: see `tile_axis`.
    """
    if size[0] * size[1] <= whole:
        tile = max(size)
    across, down = (tile_axis(length, tile=tile, margin=margin) for length in size)
    return [(x, y) for y, x in product(down, across)]


def part_of_sum(density: NDArray[np.floating], x: Tile, y: Tile) -> float:
    """Integrate a tile's density map over the tile's core.

    Args:
        density: (h, w), whose cells divide the tile evenly; a cell that lies in the core in part
            contributes that share.
        x: the tile along x.
        y: along y.
    """
    along_y, along_x = (
        _core_shares(cells, tile) for cells, tile in zip(density.shape, (y, x), strict=True)
    )
    return float(along_y @ density.astype(np.float64) @ along_x)


def release_freed_memory() -> None:
    """Return the memory that a tile freed to the system.

    glibc keeps it otherwise, and each of the hundreds of tiles of a slide takes some 8 MB more.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _core_shares(cells: int, tile: Tile) -> NDArray[np.float64]:
    """Which share of each of so many cells of equal length lies in the core."""
    edges = np.linspace(tile.read.start, tile.read.stop, cells + 1)
    return np.diff(edges.clip(tile.core.start, tile.core.stop)) * cells / len(tile.read)

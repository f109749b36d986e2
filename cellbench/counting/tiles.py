"""Overlapping tiles of large pictures; each cell is counted in the tile whose core contains it."""

import ctypes
import os
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

# Largest input, px, that is not divided: the first maps of a VGG-16 then take half a gigabyte.
WHOLE_PIXELS = 1 << 21
# Edge of a tile, and the margin around its core, in input px. Both are multiples of every stride,
# so that a tile's maps are aligned with those of the whole picture. On twelve images of MBM in one
# picture DLA counted 1694 cells undivided, and 1693 in tiles of 640 px with margins of 64 to 192.
TILE_PX = 1408
MARGIN_PX = 128


@dataclass(frozen=True, slots=True)
class Tile:
    """Tile along one axis: two half-open intervals of input px.

    Attributes:
        read: input of the network.
        core: part of `read` whose cells are counted; the cores of successive tiles are adjacent.
    """

    read: range
    core: range


def tile_axis(length: int, *, tile: int = TILE_PX, margin: int = MARGIN_PX) -> list[Tile]:
    """Divide an axis into overlapping tiles whose cores cover it once.

    Args:
        length: length of the axis, px.
        tile: largest length of a tile, px; more than twice the margin.
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
        whole: largest area that is not divided, px.
        tile: edge of a tile, px.
        margin: see `tile_axis`.
    """
    if size[0] * size[1] <= whole:
        tile = max(size)
    across, down = (tile_axis(length, tile=tile, margin=margin) for length in size)
    return [(x, y) for y, x in product(down, across)]


def integrate_core(density: NDArray[np.floating], x: Tile, y: Tile) -> float:
    """Integrate a tile's density map over the tile's core.

    Args:
        density: (h, w), whose pixels divide the tile evenly; one that lies only partly in the core
            contributes that share.
        x: the tile along x.
        y: the tile along y.
    """
    along_y, along_x = (
        _core_shares(cells, tile) for cells, tile in zip(density.shape, (y, x), strict=True)
    )
    return float(along_y @ density.astype(np.float64) @ along_x)


def release_freed_memory() -> None:
    """Give the memory that a tile has freed back to the system.

    glibc keeps it otherwise: each of a slide's hundreds of tiles then adds some 8 MB.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _core_shares(cells: int, tile: Tile) -> NDArray[np.float64]:
    """Return the share of each of a tile's `cells` equal intervals that lies in its core."""
    edges = np.linspace(tile.read.start, tile.read.stop, cells + 1)
    return np.diff(edges.clip(tile.core.start, tile.core.stop)) * cells / len(tile.read)

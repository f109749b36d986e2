"""Area of self-intersecting polygons by the even-odd rule."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Numbers = NDArray[np.float64]

# Strip-edge pairs computed at once.
_AT_ONCE = 1_000_000
# Strip-edge pairs of a round above which remaining crossings are ignored, as in a scribble with
# thousands of crossings.
_MOST_CUT = 3_000_000
# Each round finds the crossings of neighbouring edges; a scribble needs a few rounds.
_ROUNDS = 24
_SLACK = 1e-9


def even_odd_area(
    rings: Sequence[NDArray[Any]], size: tuple[float, float] = (math.inf, math.inf)
) -> float:
    """Compute the area inside closed polygons by the even-odd rule.

    Cells are assigned to regions by the same rule. The plane is cut into horizontal strips at every
    corner and crossing. Within a strip the edges keep their order, so every other gap between them
    is inside and is a trapezoid.

    Args:
        rings: (C, 2) corners of each closed polygon, (x, y) px.
        size: (width, height) that the area is clipped to, from 0; not clipped by default.

    Returns:
        Area in px; 0 without rings.
    """
    starts = [np.asarray(ring, np.float64).reshape(-1, 2) for ring in rings]
    if not sum(map(len, starts)):
        return 0.0
    start = np.concatenate(starts)
    end = np.concatenate([np.roll(ring, -1, axis=0) for ring in starts])
    down = (start[:, 1] < end[:, 1])[:, None]
    top, bottom = np.where(down, start, end), np.where(down, end, start)
    sloped = top[:, 1] < bottom[:, 1]
    top, bottom = top[sloped], bottom[sloped]
    limits: tuple[float, float] = (-math.inf, math.inf)
    levels = np.concatenate([top[:, 1], bottom[:, 1]])
    if math.isfinite(size[0]):
        limits = (0.0, size[0])
        levels = np.concatenate([levels, *(_levels_at(top, bottom, x) for x in limits)])
        levels = np.clip(levels, 0.0, size[1])
    levels = np.unique(levels)
    upper, lower = levels[:-1], levels[1:]
    total = 0.0
    for last in [False] * _ROUNDS + [True]:
        area, remaining = _strip_areas(top, bottom, upper, lower, limits, keep_crossed=last)
        total += area
        if not len(remaining):
            break
        upper, lower = remaining[:, 0], remaining[:, 1]
    return total


def _levels_at(top: _Numbers, bottom: _Numbers, x: float) -> _Numbers:
    """Return the y at which edges cross the vertical line at `x`."""
    crossing = (top[:, 0] < x) != (bottom[:, 0] < x)
    a, b = top[crossing], bottom[crossing]
    found: _Numbers = a[:, 1] + (x - a[:, 0]) / (b[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    return found


def _strip_areas(
    top: _Numbers,
    bottom: _Numbers,
    upper: _Numbers,
    lower: _Numbers,
    limits: tuple[float, float],
    *,
    keep_crossed: bool,
) -> tuple[float, _Numbers]:
    """Sum the areas of strips without crossings, and cut the other strips at their crossings.

    No edge may end within a strip.

    Args:
        top: (E, 2) upper ends of the edges.
        bottom: (E, 2) lower ends.
        upper: (S,) upper borders of the strips, ascending.
        lower: (S,) lower borders.
        limits: least and greatest x that the area is clipped to.
        keep_crossed: whether to sum strips with crossings as if there were none.

    Returns:
        The area; (T, 2) borders of the strips cut from those with crossings, ascending.
    """
    first = np.searchsorted(upper, top[:, 1], side="left")
    after = np.searchsorted(lower, bottom[:, 1], side="right")
    used = first < after
    top, bottom, first, after = top[used], bottom[used], first[used], after[used]
    change = np.bincount(first, minlength=len(upper) + 1)[: len(upper) + 1].astype(np.int64)
    change -= np.bincount(after, minlength=len(upper) + 1)[: len(upper) + 1]
    filled = np.cumsum(np.cumsum(change)[: len(upper)])
    keep_crossed = keep_crossed or bool(len(filled) and filled[-1] > _MOST_CUT)
    total, remaining, begin = 0.0, [], 0
    while begin < len(upper):
        before = filled[begin - 1] if begin else 0
        stop = max(begin + 1, int(np.searchsorted(filled, before + _AT_ONCE, side="right")))
        inside = (first < stop) & (after > begin)
        chunk_first = np.maximum(first[inside], begin) - begin
        area, cut = _chunk_areas(
            top[inside],
            bottom[inside],
            chunk_first,
            np.minimum(after[inside], stop) - begin - chunk_first,
            (upper[begin:stop], lower[begin:stop]),
            limits,
            keep_crossed,
        )
        total += area
        remaining.append(cut)
        begin = stop
    return total, np.concatenate(remaining) if remaining else np.zeros((0, 2))


def _chunk_areas(
    top: _Numbers,
    bottom: _Numbers,
    first: NDArray[np.int64],
    many: NDArray[np.int64],
    strips: tuple[_Numbers, _Numbers],
    limits: tuple[float, float],
    keep_crossed: bool,
) -> tuple[float, _Numbers]:
    """Compute `_strip_areas` of one chunk; edge i passes `many[i]` strips from `first[i]` on."""
    upper, lower = strips
    edge = np.repeat(np.arange(len(first)), many)
    strip = np.repeat(first - np.cumsum(many) + many, many) + np.arange(len(edge))

    def x_at(y: _Numbers) -> _Numbers:
        a, b = top[edge], bottom[edge]
        return np.asarray(a[:, 0] + (y - a[:, 1]) / (b[:, 1] - a[:, 1]) * (b[:, 0] - a[:, 0]))

    half = (upper + lower) / 2
    middle = x_at(half[strip])
    order = np.lexsort((middle, strip))
    strip, edge, middle = strip[order], edge[order], middle[order]
    rank = np.arange(len(strip)) - np.searchsorted(strip, strip, side="left")
    sign = np.where(rank % 2 == 1, 1.0, -1.0)
    each = sign * np.clip(middle, *limits) * (lower - upper)[strip]
    if keep_crossed:
        return float(each.sum()), np.zeros((0, 2))
    pairs = np.nonzero(strip[1:] == strip[:-1])[0]
    at, gap = strip[pairs], middle[pairs + 1] - middle[pairs]
    slack = _SLACK * (1 + np.abs(middle).max(initial=0.0))
    crossings, crossed = [], np.zeros(len(upper), dtype=bool)
    for border in (upper, lower):
        x = x_at(border[strip])
        other = x[pairs + 1] - x[pairs]
        swapped = other < -slack
        share = gap[swapped] / (gap[swapped] - other[swapped])
        strips_at = at[swapped]
        y = half[strips_at] + share * (border[strips_at] - half[strips_at])
        new = (y > upper[strips_at]) & (y < lower[strips_at])
        crossed[strips_at[new]] = True
        crossings.append(y[new])
    borders = np.unique(np.concatenate([upper[crossed], lower[crossed], *crossings]))
    kept = np.searchsorted(upper, borders[:-1], side="right") - 1
    within = (kept >= 0) & (borders[1:] <= lower[kept]) & crossed[kept]
    cut = np.stack([borders[:-1], borders[1:]], axis=1)[within]
    return float(each[~crossed[strip]].sum()), cut

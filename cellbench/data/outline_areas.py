"""The area that an odd number of closed lines surrounds, also where lines touch or cross."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Numbers = NDArray[np.float64]

# Strips times edges that are computed at once; and of a round after which, of a scribble with
# thousands of crossings, what is left is summed without cutting it further.
_AT_ONCE = 1_000_000
_MOST_CUT = 3_000_000
# Crossings of neighbours are found round by round; a scribble needs a few.
_ROUNDS = 24
_SLACK = 1e-9


def even_odd_area(
    rings: Sequence[NDArray[Any]], size: tuple[float, float] = (math.inf, math.inf)
) -> float:
    """Area by the even-odd rule, by which cells are assigned to regions too.

    The plane is cut into horizontal strips at every corner and crossing. Within a strip the edges
    keep their order, so that every other gap between them is inside and is a trapezoid.

    Args:
        rings: (C, 2) corners of each closed line, (x, y) px.
        size: (width, height) to which the area is clipped, from 0; by default it is not clipped.

    Returns:
        Area in px; 0 for no ring.
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
        area, cut = _of_strips(top, bottom, upper, lower, limits, keep_crossed=last)
        total += area
        if not len(cut):
            break
        upper, lower = cut[:, 0], cut[:, 1]
    return total


def _levels_at(top: _Numbers, bottom: _Numbers, x: float) -> _Numbers:
    """The y at which edges pass a vertical line."""
    passing = (top[:, 0] < x) != (bottom[:, 0] < x)
    a, b = top[passing], bottom[passing]
    found: _Numbers = a[:, 1] + (x - a[:, 0]) / (b[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    return found


def _of_strips(
    top: _Numbers,
    bottom: _Numbers,
    upper: _Numbers,
    lower: _Numbers,
    limits: tuple[float, float],
    *,
    keep_crossed: bool,
) -> tuple[float, _Numbers]:
    """Area within strips that no edge ends in; strips with crossings are cut there instead.

    Args:
        top: (E, 2) upper ends of the edges.
        bottom: (E, 2) lower ends.
        upper: (S,) upper borders of the strips, ascending.
        lower: (S,) lower borders.
        limits: x to which the area is clipped.
        keep_crossed: whether strips with crossings are summed as if there were none.

    Returns:
        The area; (T, 2) borders of the strips that remain, ascending.
    """
    first = np.searchsorted(upper, top[:, 1], side="left")
    after = np.searchsorted(lower, bottom[:, 1], side="right")
    used = first < after
    top, bottom, first, after = top[used], bottom[used], first[used], after[used]
    change = np.bincount(first, minlength=len(upper) + 1)[: len(upper) + 1].astype(np.int64)
    change -= np.bincount(after, minlength=len(upper) + 1)[: len(upper) + 1]
    filled = np.cumsum(np.cumsum(change)[: len(upper)])
    keep_crossed = keep_crossed or bool(len(filled) and filled[-1] > _MOST_CUT)
    total, cut, begin = 0.0, [], 0
    while begin < len(upper):
        before = filled[begin - 1] if begin else 0
        stop = max(begin + 1, int(np.searchsorted(filled, before + _AT_ONCE, side="right")))
        inside = (first < stop) & (after > begin)
        own_first = np.maximum(first[inside], begin) - begin
        area, again = _of_some(
            top[inside],
            bottom[inside],
            own_first,
            np.minimum(after[inside], stop) - begin - own_first,
            (upper[begin:stop], lower[begin:stop]),
            limits,
            keep_crossed,
        )
        total += area
        cut.append(again)
        begin = stop
    return total, np.concatenate(cut) if cut else np.zeros((0, 2))


def _of_some(
    top: _Numbers,
    bottom: _Numbers,
    first: NDArray[np.int64],
    many: NDArray[np.int64],
    strips: tuple[_Numbers, _Numbers],
    limits: tuple[float, float],
    keep_crossed: bool,
) -> tuple[float, _Numbers]:
    """As `_of_strips`, of `many` strips from `first` for each edge."""
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
    place = np.arange(len(strip)) - np.searchsorted(strip, strip, side="left")
    sign = np.where(place % 2 == 1, 1.0, -1.0)
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
        turned = other < -slack
        share = gap[turned] / (gap[turned] - other[turned])
        own = at[turned]
        y = half[own] + share * (border[own] - half[own])
        new = (y > upper[own]) & (y < lower[own])
        crossed[own[new]] = True
        crossings.append(y[new])
    borders = np.unique(np.concatenate([upper[crossed], lower[crossed], *crossings]))
    kept = np.searchsorted(upper, borders[:-1], side="right") - 1
    within = (kept >= 0) & (borders[1:] <= lower[kept]) & crossed[kept]
    again = np.stack([borders[:-1], borders[1:]], axis=1)[within]
    return float(each[~crossed[strip]].sum()), again

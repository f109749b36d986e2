"""Localisation metrics: matching of predicted points to annotated cells, precision, recall, F1.

A prediction and an annotation can be paired if they lie at most the match radius apart. The
matching is one-to-one, has the most pairs possible, and of such matchings the least total distance:
one by distance alone gives up pairs for shorter ones, and one by score depends on chance.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rows = NDArray[np.int64]

# Components of the pair graph are solved together up to this many rows: many small calls cost
# overhead, and the solver's time grows with the square of its rows.
_BATCH_ROWS = 256


def match_points(
    predicted: ArrayLike, truth: ArrayLike, radius_px: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Match predictions to annotated cells: most pairs first, then least total distance.

    200,000 cells take about a second at radii below the spacing of cells. At larger radii, where
    all cells form one component, the time grows with the square of their number.

    Args:
        predicted: (P, 2), (x, y) px.
        truth: (A, 2), same frame.
        radius_px: greatest distance of a pair, inclusive.

    Returns:
        Two (M,) int64 arrays: prediction rows, ascending, and their truth rows; empty if no pair
        is possible.

    Raises:
        ValueError: the radius is negative or not a number.
    """
    rows, columns, distance = near_pairs(predicted, truth, radius_px)
    if not rows.size:
        return rows, columns
    matched = _least_total(rows, columns, distance)
    matched = matched[np.argsort(rows[matched], kind="stable")]
    return rows[matched], columns[matched]


def near_pairs(
    predicted: ArrayLike, truth: ArrayLike, radius_px: float
) -> tuple[Rows, Rows, NDArray[np.float64]]:
    """List all pairs within the radius.

    Returns:
        Prediction rows, truth rows and distances in px, (K,) each, sorted by prediction, then
        truth.
    """
    if not radius_px >= 0:
        raise ValueError(f"a match radius is a number of px from 0 up, not {radius_px!r}")
    p, t = xy_rows(predicted), xy_rows(truth)
    if not len(p) or not len(t):
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing.copy(), np.zeros(0)
    from scipy.spatial import KDTree

    # The tree searches a slightly larger radius, for the exact comparison below.
    found = KDTree(p).sparse_distance_matrix(
        KDTree(t), radius_px * (1 + 1e-9), output_type="ndarray"
    )
    rows, columns = found["i"].astype(np.int64), found["j"].astype(np.int64)
    squared = np.square(p[rows] - t[columns]).sum(axis=1)
    keep = squared <= radius_px * radius_px
    rows, columns, distance = rows[keep], columns[keep], np.sqrt(squared[keep])
    order = np.lexsort((columns, rows))
    return rows[order], columns[order], distance[order]


def _least_total(rows: Rows, columns: Rows, distance: NDArray[np.float64]) -> Rows:
    """Return the indices of the matched pairs, for pairs sorted by row, then column."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, rows = np.unique(rows, return_inverse=True)
    _, columns = np.unique(columns, return_inverse=True)
    n_rows, n_columns = int(rows.max()) + 1, int(columns.max()) + 1
    graph = coo_array(
        (np.ones(rows.size, dtype=np.int8), (rows, n_rows + columns)),
        shape=(n_rows + n_columns, n_rows + n_columns),
    )
    n_components, label = connected_components(graph, directed=False)
    component = label[rows]
    sizes = np.stack(
        [
            np.bincount(label[:n_rows], minlength=n_components),
            np.bincount(label[n_rows:], minlength=n_components),
        ]
    )
    # Most components have one prediction or one cell, and are solved by their shortest pair.
    star = sizes.min(axis=0)[component] == 1
    stars = np.flatnonzero(star)
    stars = stars[np.lexsort((distance[stars], component[stars]))]
    first = np.ones(stars.size, dtype=bool)
    first[1:] = component[stars][1:] != component[stars][:-1]
    matched = [stars[first]]

    rest = np.flatnonzero(~star)
    rest = rest[np.argsort(component[rest], kind="stable")]
    ends = np.flatnonzero(np.diff(component[rest], append=-1)) + 1
    fill = np.cumsum(sizes.min(axis=0)[component[rest[ends - 1]]]) if rest.size else ends
    start = done = 0
    for end, filled in zip(ends.tolist(), fill.tolist(), strict=True):
        if filled - done >= _BATCH_ROWS or end == rest.size:
            batch = rest[start:end]
            matched.append(batch[_solve(rows[batch], columns[batch], distance[batch])])
            start, done = end, filled
    return np.concatenate(matched)


def _solve(rows: Rows, columns: Rows, distance: NDArray[np.float64]) -> Rows:
    """Return the indices of the matched pairs of some components, by one sparse assignment."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    row_ids, row = np.unique(rows, return_inverse=True)
    column_ids, column = np.unique(columns, return_inverse=True)
    if len(row_ids) > len(column_ids):
        row, column, row_ids, column_ids = column, row, column_ids, row_ids
    n, m = len(row_ids), len(column_ids)
    # Every row has a dummy column at a cost above any chain of pairs: so a full matching always
    # exists, and the cheapest has the most pairs. The sparse solver takes a weight of 0 for a
    # missing pair, so all weights are raised by the same amount.
    lift = float(distance.max()) or 1.0
    dummy = lift * (2 * n + 2)
    weights = np.concatenate([distance + lift, np.full(n, dummy + lift)])
    graph = csr_array(
        (
            weights,
            (np.concatenate([row, np.arange(n)]), np.concatenate([column, m + np.arange(n)])),
        ),
        shape=(n, m + n),
    )
    chosen_row, chosen_column = min_weight_full_bipartite_matching(graph)
    partner = np.full(n, -1)
    partner[chosen_row] = chosen_column
    return np.flatnonzero(partner[row] == column)


def matches_by_rank(predicted: ArrayLike, truth: ArrayLike, radius_px: float) -> NDArray[np.bool_]:
    """Mark the predictions that raise the number of pairs when they are added one by one.

    The cumulative sum is the most pairs that the first k predictions can form, for every k: the
    true positives at every threshold, without a matching for each.

    Args:
        predicted: (P, 2), (x, y) px, in descending score.
        truth: (A, 2), same frame.
        radius_px: greatest distance of a pair.

    Returns:
        (P,) bool.
    """
    gains = np.zeros(len(xy_rows(predicted)), dtype=bool)
    rows, columns, _ = near_pairs(predicted, truth, radius_px)
    starts = np.searchsorted(rows, np.arange(gains.size + 1))
    neighbours = columns.tolist()
    begin = starts.tolist()
    owner: dict[int, int] = {}
    held: dict[int, int] = {}
    # Cells visited by failed searches: all are taken, and no free cell can be reached from them,
    # now or later. Skipping them limits all failed searches together to one pass.
    closed: set[int] = set()
    for new in np.flatnonzero(np.diff(starts)).tolist():
        came_from: dict[int, int] = {}
        free = _free_cell(new, neighbours, begin, owner, closed, came_from)
        if free is None:
            closed.update(came_from)
            continue
        gains[new] = True
        cell: int | None = free
        while cell is not None:  # every prediction on the augmenting path moves on by one cell
            row = came_from[cell]
            owner[cell] = row
            held[row], cell = cell, held.get(row)
    return gains


def _free_cell(
    new: int,
    neighbours: list[int],
    begin: list[int],
    owner: dict[int, int],
    closed: set[int],
    came_from: dict[int, int],
) -> int | None:
    """Find the free cell of an augmenting path breadth first, and record the path in `came_from`.

    None where there is none.
    """
    queue = [new]
    for row in queue:
        for cell in neighbours[begin[row] : begin[row + 1]]:
            if cell in came_from or cell in closed:
                continue
            came_from[cell] = row
            if cell not in owner:
                return cell
            queue.append(owner[cell])
    return None


@dataclass(frozen=True, slots=True)
class Detection:
    """Numbers of matched and unmatched points, with precision, recall and F1.

    Attributes:
        tp: matched pairs.
        fp: unmatched predictions.
        fn: unmatched annotated cells.
    """

    tp: int
    fp: int
    fn: int

    @property
    def precision(self) -> float | None:
        """Share of predictions that are matched; None without predictions."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else None

    @property
    def recall(self) -> float | None:
        """Share of annotated cells that are matched; None without cells."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else None

    @property
    def f1(self) -> float | None:
        """2 tp / (2 tp + fp + fn); None with neither predictions nor cells."""
        marked = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / marked if marked else None


def detect(predicted: ArrayLike, truth: ArrayLike, radius_px: float) -> Detection:
    """Count true positives, false positives and misses of one image."""
    pairs = len(match_points(predicted, truth, radius_px)[0])
    return Detection(tp=pairs, fp=len(xy_rows(predicted)) - pairs, fn=len(xy_rows(truth)) - pairs)


def pool(images: Iterable[Detection]) -> Detection:
    """Sum the numbers of images, so that every cell weighs the same; zeros without images."""
    tp = fp = fn = 0
    for image in images:
        tp, fp, fn = tp + image.tp, fp + image.fp, fn + image.fn
    return Detection(tp, fp, fn)


def detect_over_radii(
    predicted: Sequence[ArrayLike], truth: Sequence[ArrayLike], radii_px: Sequence[float]
) -> list[Detection]:
    """Count matches pooled over images at several match radii, in the order given."""
    pairs = list(zip(predicted, truth, strict=True))
    return [pool(detect(p, t, radius) for p, t in pairs) for radius in radii_px]


def xy_rows(points: ArrayLike) -> NDArray[np.float64]:
    """Return points as (N, 2) float64; (0, 2) for an empty list."""
    return np.asarray(points, dtype=np.float64).reshape(-1, 2)

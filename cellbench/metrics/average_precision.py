"""Average precision of predicted points (nAP), with a tolerance relative to cell spacing."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellbench.metrics.localisation import near_pairs, xy_rows

LEVELS = tuple(round(0.05 * step, 2) for step in range(1, 11))


def normalised_average_precision(
    predicted: Sequence[ArrayLike],
    scores: Sequence[ArrayLike],
    truth: Sequence[ArrayLike],
    *,
    radius_px: float,
    levels: Sequence[float] = LEVELS,
    neighbours: int = 3,
) -> list[float | None]:
    """Compute nAP per level: the area under the precision-recall curve pooled over all images.

    Predictions are visited in descending score. One is a true positive if an unmatched cell lies
    nearer than `level` times that cell's own spacing; it is matched to the nearest, relative to
    spacing.

    Args:
        predicted: per image (P, 2), (x, y) px.
        scores: per image (P,); predictions of one score enter the curve together.
        truth: per image (A, 2).
        radius_px: match radius of the data set, for cells whose spacing is undefined.
        levels: fractions of the spacing.
        neighbours: number of nearest cells that define the spacing.

    Returns:
        One value in [0, 1] per level; None where no image has a cell.

    Source: P2PNet, arXiv:2107.12746, section 3.
    Differs: the paper does not say which of several free cells is taken, nor what the spacing is
        among few cells: see `spacing`. The area is the plain sum of precision times the step in
        recall, without interpolation.
    """
    cells = sum(len(xy_rows(t)) for t in truth)
    if not cells:
        return [None for _ in levels]
    score = [np.asarray(s, dtype=np.float64).reshape(-1) for s in scores]
    hits: list[list[NDArray[np.bool_]]] = [[] for _ in levels]
    for p, s, t in zip(predicted, score, truth, strict=True):
        masks = _true_positives(p, s, t, radius_px, levels, neighbours)
        for found, mask in zip(hits, masks, strict=True):
            found.append(mask)
    if not score:
        return [0.0 for _ in levels]
    pooled = np.concatenate(score)
    return [_area(pooled, np.concatenate(found), cells) for found in hits]


def spacing(cells: ArrayLike, *, radius_px: float, neighbours: int = 3) -> NDArray[np.float64]:
    """Compute the mean distance of every cell to its nearest neighbours in px.

    With fewer other cells than `neighbours`, all of them are averaged. A lone cell, and one whose
    neighbours all coincide with it, have a spacing of two match radii: half of it is the radius.

    Args:
        cells: (A, 2), (x, y) px.
        radius_px: match radius of the data set.
        neighbours: number of neighbours that are averaged.

    Returns:
        (A,) px, above 0; empty without cells.
    """
    xy = xy_rows(cells)
    k = min(neighbours, len(xy) - 1)
    if k < 1:
        return np.full(len(xy), 2.0 * radius_px)
    from scipy.spatial import KDTree

    nearest = np.asarray(KDTree(xy).query(xy, k=k + 1)[0])
    # The first column is the cell itself, or a duplicate of it, at distance 0.
    mean = nearest[:, 1:].mean(axis=1)
    return np.where(mean > 0, mean, 2.0 * radius_px)


def _true_positives(
    predicted: ArrayLike,
    score: NDArray[np.float64],
    truth: ArrayLike,
    radius_px: float,
    levels: Sequence[float],
    neighbours: int,
) -> list[NDArray[np.bool_]]:
    """Mark the true positives of one image: a (P,) mask per level."""
    p, t = xy_rows(predicted), xy_rows(truth)
    if len(p) != score.size:
        raise ValueError(f"{len(p)} points cannot have {score.size} scores")
    scale = spacing(t, radius_px=radius_px, neighbours=neighbours)
    reach = max(levels) * float(scale.max()) if scale.size else 0.0
    rows, cells, distance = near_pairs(p, t, reach)
    relative = distance / scale[cells]
    order = np.lexsort((cells, relative, rows, -score[rows]))
    rows, cells, relative = rows[order], cells[order], relative[order]
    masks = []
    for level in levels:
        near = relative < level
        used, taken = set[int](), set[int]()
        for row, cell in zip(rows[near].tolist(), cells[near].tolist(), strict=True):
            if row not in used and cell not in taken:
                used.add(row)
                taken.add(cell)
        mask = np.zeros(len(p), dtype=bool)
        mask[list(used)] = True
        masks.append(mask)
    return masks


def _area(score: NDArray[np.float64], right: NDArray[np.bool_], cells: int) -> float:
    """Sum precision times the step in recall, over the distinct scores in descending order."""
    if not score.size:
        return 0.0
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)  # the end of each run of equal scores
    tp = np.cumsum(right[order])[last]
    precision = tp / (np.flatnonzero(last) + 1)
    return float((np.diff(tp, prepend=0) * precision).sum() / cells)

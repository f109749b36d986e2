"""Of candidates that stand for the same cell, the best one."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree


def best_of_neighbours(
    points: NDArray[np.floating], scores: NDArray[np.floating], radius_px: float
) -> NDArray[np.bool_]:
    """Which candidates stay when each that does drops the worse ones near it.

    The outcome is that of going from the best candidate to the worst; all that do not wait for
    a better neighbour are decided at once, round by round.

    Args:
        points: (N, 2) px.
        scores: (N,); of equal ones the first is the better.
        radius_px: candidates at most so far apart are near.

    Returns:
        (N,) bool.
    """
    stays = np.zeros(len(points), dtype=bool)
    if not len(points):
        return stays
    place = np.empty(len(points), dtype=np.int64)
    place[np.argsort(-scores, kind="stable")] = np.arange(len(points))
    pairs = cKDTree(points).query_pairs(radius_px, output_type="ndarray")
    first_is_worse = place[pairs[:, 0]] > place[pairs[:, 1]]
    better = np.where(first_is_worse, pairs[:, 1], pairs[:, 0])
    worse = np.where(first_is_worse, pairs[:, 0], pairs[:, 1])
    undecided = ~stays
    while undecided.any():
        best = undecided & ~_reached(worse[undecided[better]], len(points))
        stays |= best
        undecided &= ~best & ~_reached(worse[best[better]], len(points))
    return stays


def _reached(indices: NDArray[np.integer], length: int) -> NDArray[np.bool_]:
    found = np.zeros(length, dtype=bool)
    found[indices] = True
    return found

"""Suppression or merging of candidates that are near each other."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree


def best_of_neighbours(
    points: NDArray[np.floating], scores: NDArray[np.floating], radius_px: float
) -> NDArray[np.bool_]:
    """Select candidates by greedy suppression: each one kept drops the worse ones near it.

    The result is that of going from the best candidate to the worst; all without an undecided
    better neighbour are decided at once, round by round.

    Args:
        points: (N, 2) px.
        scores: (N,); of equal ones the first is the better.
        radius_px: candidates at most this far apart are near.

    Returns:
        (N,) bool, True for those kept.
    """
    stays = np.zeros(len(points), dtype=bool)
    if not len(points):
        return stays
    rank = np.empty(len(points), dtype=np.int64)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(points))
    pairs = cKDTree(points).query_pairs(radius_px, output_type="ndarray")
    first_is_worse = rank[pairs[:, 0]] > rank[pairs[:, 1]]
    better = np.where(first_is_worse, pairs[:, 1], pairs[:, 0])
    worse = np.where(first_is_worse, pairs[:, 0], pairs[:, 1])
    undecided = ~stays
    while undecided.any():
        best = undecided & ~_reached(worse[undecided[better]], len(points))
        stays |= best
        undecided &= ~best & ~_reached(worse[best[better]], len(points))
    return stays


def merge_neighbours(
    points: NDArray[np.float32], scores: NDArray[np.float32], radius_px: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Merge near candidates: add the scores of the worse ones to those of the better ones.

    Where several references could each have been the cell's, one-to-one matching trains a network
    to share the cell's probability among them: each score is low, and their sum is the
    probability. The better ones are those of `best_of_neighbours`; each other candidate is added
    to the nearest of them.

    Args:
        points: (N, 2) px.
        scores: (N,) in [0, 1]; of equal ones the first is the better.
        radius_px: candidates at most this far apart are near.

    Returns:
        (K, 2) means of the points, weighted by their scores, and (K,) sums of the scores, at
        most 1; in the order of the better ones.
    """
    stays = best_of_neighbours(points, scores, radius_px)
    if stays.all():
        return points, scores
    kept = points[stays].astype(np.float64)
    _, joins = cKDTree(kept).query(points)
    weights = np.bincount(joins, scores, minlength=len(kept))
    # relative to the better one: where all scores are 0, it is not moved
    shifts = scores[:, None] * (points - kept[joins])
    total = np.where(weights > 0, weights, 1.0)
    moved = [np.bincount(joins, shift, minlength=len(kept)) / total for shift in shifts.T]
    means, sums = kept + np.stack(moved, axis=1), np.minimum(weights, 1.0)
    return means.astype(np.float32), sums.astype(np.float32)


def _reached(indices: NDArray[np.integer], length: int) -> NDArray[np.bool_]:
    mask = np.zeros(length, dtype=bool)
    mask[indices] = True
    return mask

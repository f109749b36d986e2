"""Comparison of predictions of the same image: equal up to rounding, or bit for bit.

The same image, computed in batches of different sizes, in tiles or by other numbers of threads,
takes other paths through a processor's kernels: sums are taken in another order, and float32
results differ in their last bits, by amounts that depend on the processor.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import cKDTree

from cellbench.structures import Prediction
from cellbench.testing.contract_claim import require

# Rounding in float32 moves a point by about 1e-5 px and a score by about 1e-6; a wrong pixel,
# tile, scale or padding by at least 1e-2 of either.
POINTS_PX = 1e-3
SCORES = 1e-4


def assert_same_candidates(
    found: Prediction,
    expected: Prediction,
    *,
    floor: float | None = None,
    ties: int = 0,
    points_px: float = POINTS_PX,
    scores: float = SCORES,
) -> None:
    """Require that each candidate has a counterpart in the other prediction, in any order.

    Some methods order candidates by score; two whose scores differ by less than rounding may
    change places.

    Args:
        found: a `Prediction` with points and scores.
        expected: another of the same image.
        floor: least score that is kept; a candidate within `scores` of it may be missing.
        ties: number of further candidates, of both together, that may lack a counterpart, where
            a method suppresses worse neighbours: the two best of a group may be equal up to
            rounding, or their overlap equal to the limit.
        points_px: largest difference of a coordinate, px.
        scores: largest difference of a score.

    Raises:
        ContractError: a candidate lacks its counterpart.
    """
    unit = np.array([points_px, points_px, scores])
    one, other = (_rows(side).astype(np.float64) / unit for side in (found, expected))
    unpaired = [~paired for paired in _paired(one, other)]
    if floor is not None:
        sides = zip(unpaired, (found, expected), strict=True)
        unpaired = [lacks & (np.abs(_rows(side)[:, 2] - floor) > scores) for lacks, side in sides]
    rows = [_rows(side)[lacks] for lacks, side in zip(unpaired, (found, expected), strict=True)]
    require(
        len(rows[0]) + len(rows[1]) <= ties,
        f"without a counterpart within {points_px} px and {scores} of score: {rows[0].tolist()} "
        f"of {len(one)} found, {rows[1].tolist()} of {len(other)} expected",
    )


def check_equal(first: Prediction, second: Prediction) -> None:
    """Require two predictions to be equal bit for bit."""
    require(first.count == second.count, f"counts of {first.count} and {second.count}")
    for name in ("points", "scores", "density"):
        one, other = getattr(first, name), getattr(second, name)
        require((one is None) == (other is None), f"{name} once and not again")
        if one is not None:
            np.testing.assert_array_equal(one, other)


def _rows(found: Prediction) -> NDArray[np.float32]:
    """Stack x, y and score of each candidate, (N, 3)."""
    require(found.points is not None and found.scores is not None, "a prediction has no points")
    return np.column_stack([found.points, found.scores])  # type: ignore[list-item]


def _paired(
    one: NDArray[np.float64], other: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Mark the rows of (N, 3) and (M, 3) arrays that a largest one-to-one pairing within 1 has."""
    if not len(one) or not len(other):
        return np.zeros(len(one), dtype=bool), np.zeros(len(other), dtype=bool)
    near = cKDTree(one).query_ball_tree(cKDTree(other), r=1.0, p=np.inf)
    rows = np.repeat(np.arange(len(one)), [len(found) for found in near])
    columns = np.array([column for found in near for column in found], dtype=np.int64)
    edges = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(one), len(other)))
    partner = maximum_bipartite_matching(edges.tocsr(), perm_type="column")
    return partner >= 0, np.isin(np.arange(len(other)), partner[partner >= 0])

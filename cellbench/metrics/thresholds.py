"""Selection of the score threshold above which a candidate counts as a cell."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cellbench.metrics.localisation import matches_by_rank
from cellbench.structures import CellSample, Prediction, no_points

# Without candidates all thresholds are equivalent; this is the customary one.
_NEUTRAL = 0.5

# Scores closer than this many steps of float32 are one score: no threshold is placed between
# them, since rounding could move either of them across.
_ULPS = 8


def choose_threshold(
    candidates: Sequence[Prediction],
    truth: Sequence[CellSample],
    *,
    radius_px: float,
    counted: bool = True,
) -> float:
    """Select the score threshold of least MAE, and of those the one of highest F1.

    Every gap between two neighbouring scores is evaluated exactly. Remaining ties form runs of
    neighbouring gaps; the threshold lies near the middle of the widest run and never equals a
    score, so that `score > threshold` and `score >= threshold` are equivalent.

    Args:
        candidates: per image every candidate above a floor, with points and scores.
        truth: the annotations of the same images, in the same order.
        radius_px: match radius, for F1.
        counted: False where the count does not come from the candidates: F1 alone decides.

    Returns:
        The threshold; 0.5 where there is no candidate or no image. It lies outside the range of
        scores where none or all of the candidates should count.

    Raises:
        ValueError: images and annotations differ in number, or points and scores in an image.
    """
    if len(candidates) != len(truth):
        raise ValueError(f"{len(candidates)} images cannot be scored by {len(truth)} annotations")
    scores, image, position = _pooled_scores(candidates)
    usable = np.isfinite(scores)
    order = np.flatnonzero(usable)[np.argsort(-scores[usable], kind="stable")]
    ranked, image, position = scores[order], image[order], position[order]
    if not ranked.size:
        return _NEUTRAL
    # The (n + 1,) ends of the open gaps between descending scores. The gap above the best score
    # ends at 1, the one below the worst at 0; a little further where a score lies at or beyond
    # these, so that the first and the last gap are always wide enough.
    best, worst = float(ranked[0]), float(ranked[-1])
    above = 1.0 if best < 0.999 else best + 0.02 * max(abs(best), 1.0)
    below = 0.0 if worst > 1e-30 else worst - 0.02 * max(abs(worst), 1.0)
    low, high = np.append(ranked, below), np.insert(ranked, 0, above)
    # A threshold in gap k keeps the first k candidates; only gaps that are wide enough count.
    gaps = np.flatnonzero(high - low > _ULPS * np.spacing(np.abs(high).astype(np.float32)))
    if counted:
        error = _errors(image, np.array([sample.count for sample in truth]))[gaps]
        gaps = gaps[error == error.min()]
    if gaps.size > 1:
        f1 = _f1(candidates, truth, radius_px, image, position)[gaps]
        gaps = gaps[f1 == f1.max()]
    return _middle_of_widest(gaps, low, high)


def _pooled_scores(
    candidates: Sequence[Prediction],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Pool the scores of all images, with the image of each and its position there."""
    scores = []
    for row, prediction in enumerate(candidates):
        points = no_points() if prediction.points is None else prediction.points
        values = np.zeros(0) if prediction.scores is None else np.asarray(prediction.scores)
        if len(points) != values.size:
            raise ValueError(f"image {row} has {len(points)} candidates but {values.size} scores")
        scores.append(values.astype(np.float64).reshape(-1))
    image = [np.full(values.size, row) for row, values in enumerate(scores)]
    position = [np.arange(values.size) for values in scores]
    empty = np.zeros(0, dtype=np.int64)  # concatenate needs an array where there are no images
    return (
        np.concatenate([np.zeros(0), *scores]),
        np.concatenate([empty, *image]),
        np.concatenate([empty, *position]),
    )


def _errors(image: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Compute the (n + 1,) summed absolute errors when the first k candidates count.

    Each candidate lowers the error of its image by one until the true count is reached, and
    raises it by one from there.
    """
    by_image = np.argsort(image, kind="stable")
    sizes = np.bincount(image, minlength=wanted.size)
    rank = np.empty(image.size, dtype=np.int64)
    rank[by_image] = np.arange(image.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    step = np.where(rank < wanted[image], -1, 1)
    return np.concatenate([[0], np.cumsum(step)]) + int(wanted.sum())


def _f1(
    candidates: Sequence[Prediction],
    truth: Sequence[CellSample],
    radius_px: float,
    image: NDArray[np.int64],
    position: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Compute the (n + 1,) pooled F1 when the first k candidates count; 1 if both are empty."""
    gains = np.zeros(image.size, dtype=bool)
    for row, (prediction, sample) in enumerate(zip(candidates, truth, strict=True)):
        rows = np.flatnonzero(image == row)
        if rows.size and prediction.points is not None and sample.count:
            points = np.asarray(prediction.points)[position[rows]]
            gains[rows] = matches_by_rank(points, sample.points, radius_px)
    tp = np.concatenate([[0], np.cumsum(gains)])
    total = np.arange(image.size + 1) + sum(sample.count for sample in truth)
    return np.where(total > 0, 2 * tp / np.maximum(total, 1), 1.0)


def _middle_of_widest(
    gaps: NDArray[np.int64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> float:
    """Return a threshold inside the gap at, or nearest to, the middle of the widest run."""
    starts = np.flatnonzero(np.diff(gaps, prepend=-2) != 1)
    ends = np.append(starts[1:], gaps.size) - 1
    top, bottom = high[gaps[starts]], low[gaps[ends]]
    widest = int(np.argmax(top - bottom))
    run = gaps[starts[widest] : ends[widest] + 1]
    middle = (top[widest] + bottom[widest]) / 2
    nearest = run[np.argmin(np.maximum(low[run] - middle, middle - high[run]))]
    return float((low[nearest] + high[nearest]) / 2)

"""Correlation of a method's errors with those of other methods on the same images.

Where an annotator omits cells that others mark, every method counts too many on that annotator's
images. This error is part of every MAE, no method can avoid it, and methods differ only in the
rest.
"""

from collections.abc import Sequence

import numpy as np

from cellbench.ranking.statistics import Floats

# With fewer other methods their median is one method's; with fewer images a correlation carries
# no information.
LEAST_OTHERS = 3
LEAST_IMAGES = 4


def shared_errors(signed: Floats, methods: Sequence[str]) -> list[float | None]:
    """Correlate, over images, every row's error with the median error of other methods.

    Near 1, the images or their annotations decide where a method errs, and in which direction;
    near 0, the method itself does. Each of the other methods enters the median once, with the row
    of its least MAE, so that many variants of one do not outweigh the rest.

    Args:
        signed: (E, N) predictions minus truths, of the same images in all rows.
        methods: (E,) base method of each row.

    Returns:
        One in [-1, 1] per row; None with fewer than three other methods or four images, where a
        row lacks an image, and where a row or the median of the others has the same error on all
        images.
    """
    if signed.shape[1] < LEAST_IMAGES or not np.isfinite(signed).all():
        return [None] * len(signed)
    best: dict[str, int] = {}
    for row in np.argsort(np.abs(signed).mean(axis=1), kind="stable").tolist():
        best.setdefault(methods[row], row)
    if len(best) <= LEAST_OTHERS:
        return [None] * len(signed)
    medians = dict(zip(best, _medians_of_others(signed[list(best.values())]), strict=True))
    return [_correlation(row, medians[name]) for row, name in zip(signed, methods, strict=True)]


def _medians_of_others(values: Floats) -> Floats:
    """Compute per row and column the median of the other rows; (M, N) to (M, N), M at least 2."""
    order = np.argsort(values, axis=0, kind="stable")
    ranked = np.take_along_axis(values, order, axis=0)
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(len(values))[:, None], axis=0)
    low, high = (len(values) - 2) // 2, (len(values) - 1) // 2  # the middle of M - 1
    middle = [np.take_along_axis(ranked, index + (index >= place), axis=0) for index in (low, high)]
    return np.asarray(sum(middle) / 2)


def _correlation(a: Floats, b: Floats) -> float | None:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    # equal numbers minus their mean leave rounding errors
    if size <= 1e-12 * len(a):
        return None
    return float(np.clip(a @ b / size, -1.0, 1.0))
